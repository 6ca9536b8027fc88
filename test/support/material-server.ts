/**
 * Global set-up of the tests that run in workerd, which has no files and no addon: makes the material here and serves it on
 * the loopback, together with the addon's answers that the worker's must equal. The address is provided as `material`.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nativeEngine } from 'cocoop/node'
import type { TestProject } from 'vitest/node'
import { makeBundles, makePack, readModel, readPictures } from './material.ts'

/** What `/index.json` holds. `expected[kind][picture]` are the addon's probabilities. */
export interface MaterialIndex {
  pictures: string[]
  kinds: string[]
  expected: Record<string, Record<string, number[]>>
}

/** Bits of the packs that are served: `/packs/<bits>/manifest.json` and its shards. */
const PACKS = [32, 8, 4] as const

declare module 'vitest' {
  interface ProvidedContext {
    material: string
  }
}

export async function setup(project: TestProject): Promise<() => void> {
  const [model, pictures, bundles] = [await readModel(), await readPictures(), await makeBundles()]
  const files = new Map<string, Uint8Array | string>()
  const folder = await mkdtemp(join(tmpdir(), 'cocoop-material-'))
  for (const bits of PACKS) {
    const pack = join(folder, String(bits))
    await makePack(pack, bits)
    for (const name of await readdir(pack)) files.set(`/packs/${bits}/${name}`, await readFile(join(pack, name)))
  }
  await rm(folder, { recursive: true })
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
