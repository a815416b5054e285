// Reads {"file": path, "leaf": bytes, "links": n, "car": path | null, "make": path | null, "raw": bool} as lines, and
// prints what the packages of IPFS and Filecoin say about each.
import { CarReader, CarWriter } from '@ipld/car'
import { Piece } from '@web3-storage/data-segment'
import { MemoryBlockstore } from 'blockstore-core/memory'
import { createWriteStream, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { sha256 } from 'multiformats/hashes/sha2'

class Store extends MemoryBlockstore {
  blocks = []

  put (cid, bytes, options) {
    this.blocks.push({ cid, bytes })
    return super.put(cid, bytes, options)
  }
}

async function imported (data, { leaf, links, raw }) {
  const store = new Store()
  const options = {
    cidVersion: 1,
    rawLeaves: raw,
    chunker: fixedSize({ chunkSize: leaf }),
    layout: balanced({ maxChildrenPerNode: links }),
    wrapWithDirectory: false
  }
  let last
  for await (const entry of importer([{ content: data }], store, options)) last = entry
  return [last.cid, store]
}

async function write (path, root, store) {
  const { writer, out } = CarWriter.create([root])
  const done = pipeline(Readable.from(out), createWriteStream(path))
  for (const block of store.blocks) await writer.put(block)
  await writer.close()
  await done
}

async function readCar (path) {
  const reader = await CarReader.fromBytes(readFileSync(path))
  const roots = await reader.getRoots()
  let blocks = 0
  for await (const { cid, bytes } of reader.blocks()) {
    const digest = await sha256.digest(bytes)
    if (Buffer.compare(Buffer.from(digest.bytes), Buffer.from(cid.multihash.bytes))) throw new Error(`hash of ${cid}`)
    blocks++
  }
  if (!await reader.has(roots[0])) throw new Error('no root')
  return { roots: roots.map(String), blocks }
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  const said = {}
  try {
    if (asked.file) {
      const data = readFileSync(asked.file)
      const [cid, store] = await imported(data, asked)
      said.cid = cid.toString()
      if (data.length >= 65) {
        const piece = Piece.fromPayload(data)
        said.piece = piece.link.toString()
        said.legacy = piece.toInfo().link.toString()
      }
      if (asked.make) await write(asked.make, cid, store)
    }
    if (asked.car) Object.assign(said, await readCar(asked.car))
  } catch (error) {
    said.error = String(error.message ?? error)
  }
  console.log(JSON.stringify(said))
}
