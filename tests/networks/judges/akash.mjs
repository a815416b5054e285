// Reads {"sdl": text} or {"write": value} as lines, and prints what Akash's SDK says about a description (the groups that it
// makes of it, or why none), or a value as its writer of YAML puts it.
import { generateManifest, validationSDLSchema } from '@akashnetwork/chain-sdk'
import { dump, load } from 'js-yaml'
import { createInterface } from 'node:readline'

const text = bytes => Buffer.from(bytes).toString()

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  const said = {}
  try {
    if (asked.schema) said.schema = validationSDLSchema
    else if (asked.write) said.yaml = dump(asked.write)
    else {
      const made = generateManifest(load(asked.sdl))
      if (!made.ok) throw new Error(made.value.map(each => each.message).join('; '))
      said.groups = made.value.groups.map(({ name, services }) => ({
        name,
        services: services.map(({ name, image, args, resources, count, expose }) => ({
          name,
          image,
          args,
          count,
          cpu: text(Object.values(resources.cpu.units.val)),
          gpu: resources.gpu.units ? text(Object.values(resources.gpu.units.val)) : '0',
          attributes: resources.gpu.attributes.map(({ key }) => key),
          storage: resources.storage.map(({ name }) => name),
          port: expose[0].externalPort
        }))
      }))
      said.requirements = made.value.groupSpecs.map(({ requirements }) => requirements)
    }
  } catch (error) {
    said.error = String(error.message ?? error)
  }
  console.log(JSON.stringify(said))
}
