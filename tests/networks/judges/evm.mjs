// Reads {"document": {...}}, {"text": "...", "signature": "0x..."} or {"call": "0x..."} as lines, and prints what ethers says: who signed typed data or a text, or what a
// call of a validation registry says, by the interface of current registries (erc-8004-contracts 2.0) and by that of older ones, whose tag is bytes32.
// For {"key": "0x...", "sign": "..." | {...}} it prints the signature of a text or of typed data, for {"respond": [...], "tag": "string"} a call that it makes.
import { Interface, TypedDataEncoder, Wallet, verifyMessage, verifyTypedData } from 'ethers'
import { createInterface } from 'node:readline'

const request = 'validationRequest(address validatorAddress, uint256 agentId, string requestURI, bytes32 requestHash)'
const response = 'validationResponse(bytes32 requestHash, uint8 response, string responseURI, bytes32 responseHash'
const registries = Object.fromEntries(['string', 'bytes32'].map(tag =>
  [tag, new Interface([`function ${request}`, `function ${response}, ${tag} tag)`])]))

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  const said = {}
  try {
    if (asked.key) {
      const wallet = new Wallet(asked.key)
      said.signer = wallet.address
      if (typeof asked.sign === 'string') said.signature = await wallet.signMessage(asked.sign)
      else {
        const { types, domain, message } = asked.sign
        const { EIP712Domain, ...own } = types
        said.signature = await wallet.signTypedData(domain, own, message)
      }
    } else if (asked.respond) {
      said.call = registries[asked.tag].encodeFunctionData('validationResponse', asked.respond)
    } else if (asked.document) {
      const { types, domain, message, signature } = asked.document
      const { EIP712Domain, ...own } = types
      said.digest = TypedDataEncoder.hash(domain, own, message)
      said.signer = verifyTypedData(domain, own, message, signature)
    } else if (asked.text !== undefined) {
      said.signer = verifyMessage(asked.text, asked.signature)
    } else {
      for (const [tag, registry] of Object.entries(registries)) {
        const found = registry.parseTransaction({ data: asked.call })
        if (!found) continue
        // What is decoded has to be encoded as it was: there is one form of a call.
        if (registry.encodeFunctionData(found.fragment, found.args) !== asked.call) throw new Error('not canonical')
        said[tag] = { name: found.name, args: found.args.map(String) }
      }
      if (!Object.keys(said).length) throw new Error('no such function')
    }
  } catch (error) {
    said.error = String(error.shortMessage ?? error.message ?? error)
  }
  console.log(JSON.stringify(said))
}
