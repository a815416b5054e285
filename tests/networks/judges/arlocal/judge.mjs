// Reads {"bundle": hex} lines, posts each bundle to arlocal in a transaction, by "chunks" if asked, with its transaction changed after it was signed
// if "change" says what, and prints the status of the answer, whether the next block confirms it, and what the gateway gives back for it.
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import Module, { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const require = createRequire(import.meta.url)
const load = Module._load
Module._load = (name, ...more) => name === 'sqlite3' ? require('./sqlite.cjs') : load(name, ...more)
const Arweave = require('arweave')
const { default: ArLocal } = require('arlocal')

const port = await new Promise(resolve => {
  const probe = createServer().listen(0, '127.0.0.1', () => {
    const { port } = probe.address()
    probe.close(() => resolve(port))
  })
})
const print = console.log
console.log = console.error // arlocal writes to both
const folder = mkdtempSync(join(tmpdir(), 'arlocal-'))
const gateway = new ArLocal(port, false, folder)
await gateway.start()
const url = `http://127.0.0.1:${port}`
const arweave = Arweave.init({ host: '127.0.0.1', port, protocol: 'http' })
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 4096 })
const key = privateKey.export({ format: 'jwk' })
await fetch(`${url}/mint/${await arweave.wallets.jwkToAddress(key)}/1000000000000000`)

const CHANGES = {
  signature: made => { made.signature = made.signature.slice(0, -4) + 'AAAA' },
  tag: made => made.addTag('more', 'x'),
  owner: made => { made.owner = made.owner.slice(0, -4) + 'AAAA' },
  reward: made => { made.reward += '0' },
  root: made => { made.data_root = made.data_root.slice(0, -4) + 'AAAA' }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { bundle, chunks, change } = JSON.parse(line)
  const said = {}
  try {
    const made = await arweave.createTransaction({ data: Buffer.from(bundle, 'hex') }, key)
    made.addTag('Bundle-Format', 'binary')
    made.addTag('Bundle-Version', '2.0.0')
    await arweave.transactions.sign(made, key)
    if (change) CHANGES[change](made)
    if (chunks) {
      const sending = await arweave.transactions.getUploader(made)
      while (!sending.isComplete) await sending.uploadChunk()
      said.status = sending.lastResponseStatus
    } else said.status = (await arweave.transactions.post(made)).status
    await fetch(`${url}/mine`)
    const found = await fetch(`${url}/tx/${made.id}/status`)
    said.confirmed = found.ok && (await found.text()).includes('block_height')
    if (said.confirmed) said.data = Buffer.from(await (await fetch(`${url}/${made.id}`)).arrayBuffer()).toString('hex')
  } catch (error) {
    said.error = String(error.message ?? error)
  }
  print(JSON.stringify(said))
}
rmSync(folder, { recursive: true })
process.exit(0)
