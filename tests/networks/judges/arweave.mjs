// Reads {"item": hex}, {"bundle": hex} or {"make": {"key": hex | "rsa", "items": [{data, tags}]}} as lines, and prints what arbundles says: whether an
// item or all items of a bundle are valid, with their fields, or an item or a bundle that it makes, as hex.
import { createHash, generateKeyPairSync } from 'node:crypto'
import { createInterface } from 'node:readline'
import { ArweaveSigner, Bundle, Curve25519, DataItem, bundleAndSignData, createData } from 'arbundles'

class Ed25519 extends Curve25519 {
  get key () { return this._key }
  get publicKey () { return this.pk }
}

async function signer (wanted) {
  if (wanted === 'rsa') {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 4096 })
    return new ArweaveSigner(privateKey.export({ format: 'jwk' }))
  }
  const { getPublicKey } = await import('@noble/ed25519')
  const secret = Buffer.from(wanted, 'hex')
  return new Ed25519(secret, Buffer.from(await getPublicKey(secret)))
}

const told = item => ({
  id: Buffer.from(item.rawId).toString('hex'),
  type: item.signatureType,
  owner: Buffer.from(item.rawOwner).toString('hex'),
  anchor: Buffer.from(item.rawAnchor).toString('hex'),
  tags: item.tags.map(({ name, value }) => [name, value]),
  data: createHash('sha256').update(item.rawData).digest('hex')
})

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  const said = {}
  try {
    if (asked.make) {
      const key = await signer(asked.make.key)
      const items = asked.make.items.map(({ data, ...options }) => createData(data, key, options))
      for (const item of items) await item.sign(key)
      said.items = items.map(item => Buffer.from(item.getRaw()).toString('hex'))
      said.bundle = Buffer.from((await bundleAndSignData(items, key)).getRaw()).toString('hex')
    } else if (asked.bundle) {
      const found = new Bundle(Buffer.from(asked.bundle, 'hex'))
      said.valid = await found.verify()
      said.items = found.items.map(told)
    } else {
      const item = new DataItem(Buffer.from(asked.item, 'hex'))
      said.valid = await DataItem.verify(Buffer.from(asked.item, 'hex'))
      said.item = told(item)
    }
  } catch (error) {
    said.error = String(error.message ?? error)
  }
  console.log(JSON.stringify(said))
}
