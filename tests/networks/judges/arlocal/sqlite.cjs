// The part of the package sqlite3 that knex uses, over the SQLite that is in Node.js: the package itself downloads or compiles machine code when it
// is installed, which a test should not wait for.
const { DatabaseSync } = require('node:sqlite')

function plain (value) {
  if (value === undefined) return null
  if (Array.isArray(value)) return String(value)
  if (typeof value === 'boolean') return Number(value)
  return value instanceof Date ? value.getTime() : value
}

class Database {
  #inner

  constructor (file, _, done) {
    this.#inner = new DatabaseSync(file)
    queueMicrotask(() => done(null))
  }

  #call (how, sql, values, done) {
    let error = null
    let found
    let about = {}
    try {
      const result = this.#inner.prepare(sql)[how](...(values ?? []).map(plain))
      if (how === 'run') about = { lastID: Number(result.lastInsertRowid), changes: Number(result.changes) }
      else found = result
    } catch (caught) {
      error = caught
    }
    queueMicrotask(() => done.call(about, error, found))
  }

  run (sql, values, done) { this.#call('run', sql, values, done) }
  all (sql, values, done) { this.#call('all', sql, values, done) }
  close (done) { this.#inner.close(); queueMicrotask(() => done(null)) }
}

module.exports = { Database, OPEN_READWRITE: 2, OPEN_CREATE: 4 }
