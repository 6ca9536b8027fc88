/**
 * Global set-up of the tests that run in workerd, which has no files and no addon: makes the material here and serves it on
 * the loopback, together with the addon's answers that the worker's must equal. The address is provided as `material`.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { nativeEngine } from 'cocoop/node'
import type { TestProject } from 'vitest/node'
import { makeBundles, readModel, readPictures } from './material.ts'

/** What `/index.json` holds. `expected[kind][picture]` are the addon's probabilities. */
export interface MaterialIndex {
  pictures: string[]
  kinds: string[]
  expected: Record<string, Record<string, number[]>>
}

declare module 'vitest' {
  interface ProvidedContext {
    material: string
  }
}

export async function setup(project: TestProject): Promise<() => void> {
  const [model, pictures, bundles] = [await readModel(), await readPictures(), await makeBundles()]
  const files = new Map<string, Uint8Array | string>([
    ['/model/weights', model.weights],
    ['/model/config', model.config],
  ])
  const expected: MaterialIndex['expected'] = {}
  using loaded = await (await nativeEngine()).loadModel(model)
  for (const [kind, bundle] of Object.entries(bundles)) {
    files.set(`/bundles/${kind}`, bundle)
    using classifier = await loaded.classifier(bundle)
    const answers: Record<string, number[]> = {}
    for (const { name, bytes } of pictures) answers[name] = [...(await classifier.classify(bytes)).probs]
    expected[kind] = answers
  }
  for (const { name, bytes } of pictures) files.set(`/pictures/${name}`, bytes)
  const index: MaterialIndex = { pictures: pictures.map(({ name }) => name), kinds: Object.keys(bundles), expected }
  files.set('/index.json', JSON.stringify(index))

  const server = createServer((request, response) => {
    const file = files.get(decodeURIComponent(request.url ?? ''))
    response.writeHead(file === undefined ? 404 : 200).end(file)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  project.provide('material', `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  return () => void server.close()
}
