/** Packs of the embedded model on every engine and out of every store; what is missing, cut short or changed is named. */

import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Kind, makeBundles, makePack, type Picture, readModel, readPictures } from '../../test/support/material.ts'
import {
  type Bytes,
  Classifier,
  FsStore,
  HttpStore,
  MemoryStore,
  type ModelFiles,
  nativeEngine,
  Pack,
  type Place,
  type Store,
  wasmEngine,
} from './node.ts'

const folder = await mkdtemp(join(tmpdir(), 'cocoop-pack-'))
let server: Server
let files: ModelFiles
let bundles: Record<Kind, Bytes>
let pictures: Picture[]
let pack: Pack

beforeAll(async () => {
  files = await readModel()
  bundles = await makeBundles()
  pictures = (await readPictures()).slice(0, 8)
  pack = await makePack(join(folder, '8'), 8)
  const store = new FsStore(folder)
  server = createServer(async (request, response) => {
    const value = await store.get((request.url ?? '/').slice(1))
    response.writeHead(request.url === '/8/broken' ? 500 : value ? 200 : 404).end(value ?? 'nothing')
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
}, 120_000)
afterAll(async () => {
  server.close()
  await rm(folder, { recursive: true })
})

const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}/8`
const largest = (a: Float32Array, b: Float32Array) =>
  a.reduce((max, x, i) => Math.max(max, Math.abs(x - (b[i] ?? 1))), 0)

/** A copy of the pack, to be broken; in memory where no other store is given. */
async function copy<S extends Store = MemoryStore>(store = new MemoryStore() as Store as S): Promise<S> {
  for (const shard of pack.manifest.shards) await store.put(shard.name, await pack.get(shard))
  await store.put('manifest.json', new TextEncoder().encode(pack.json))
  return store
}

describe.each(['napi', 'wasm'] as const)('on %s', (door) => {
  const engine = () => (door === 'napi' ? nativeEngine() : wasmEngine())

  it.each([32, 16] as const)('%i bits: the probabilities of the model itself, which is stored in 16', async (bits) => {
    const exact = await makePack(join(folder, `${door}-${bits}`), bits)
    using ours = await (await engine()).loadModel(exact)
    using theirs = await (await engine()).loadModel(files)
    expect(ours.info).toEqual({ ...theirs.info, pack: { bits, sha256: exact.sha256 } })
    for (const kind of ['coop', 'cocoop'] as const) {
      using a = await ours.classifier(bundles[kind])
      using b = await theirs.classifier(bundles[kind])
      for (const { bytes, name } of pictures)
        expect(largest((await a.classify(bytes)).probs, (await b.classify(bytes)).probs), name).toBeLessThan(1e-5)
    }
  })

  it('8 bits, from a folder, from memory, over HTTP: the same answers', async () => {
    const { bytes } = pictures[0] as Picture
    const classnames = ['crimson', 'teal', 'red']
    const answers: Float32Array[] = []
    for (const from of [pack, await Pack.open(await copy()), await Pack.open(new HttpStore(url()))]) {
      await using classifier = await Classifier.load(from, bundles.cocoop, { engine: await engine(), classnames })
      const { predictions } = await classifier.classify(bytes)
      answers.push(Float32Array.from(predictions, ({ prob }) => prob))
    }
    expect(answers[1]).toEqual(answers[0])
    expect(answers[2]).toEqual(answers[0])
  })

  it('without its text tower: fixed text features are served, others are refused', async () => {
    const vision = await makePack(join(folder, `${door}-vision`), 8, ['vision'])
    expect(vision.manifest.shards.map(({ tower }) => tower)).not.toContain('text')
    using model = await (await engine()).loadModel(vision)
    for (const kind of ['zero-shot', 'coop', 'coop-csc'] as const) {
      using classifier = await model.classifier(bundles[kind])
      expect((await classifier.classify((pictures[0] as Picture).bytes)).probs.length).toBe(20)
    }
    for (const open of [
      () => model.classifier(bundles.cocoop),
      () => model.classifier(bundles.coop, { classnames: ['a'] }),
    ])
      await expect(open()).rejects.toMatchObject({ code: 'missing_tower', message: expect.stringContaining('text') })
  })

  const broken = ['missing', 'cut short', 'too long', 'changed'].flatMap((what) =>
    ['memory', 'a folder'].map((where) => [what, where] as const),
  )
  it.each(broken)('a shard that is %s is named, in %s', async (what, where) => {
    for (const tower of ['vision', 'text'] as const) {
      const store: Store = await copy(
        where === 'memory' ? undefined : new FsStore(await mkdtemp(join(folder, 'copy-'))),
      )
      const name = `${tower}-0.bin`
      const bytes = (await store.get(name)) as Bytes
      if (what === 'missing') await store.delete(name)
      if (what === 'cut short') await store.put(name, bytes.subarray(0, -1))
      if (what === 'too long') await store.put(name, Buffer.concat([bytes, Uint8Array.of(0)]))
      if (what === 'changed')
        await store.put(
          name,
          bytes.map((byte, i) => (i === 5 ? byte ^ 1 : byte)),
        )
      const load = Classifier.load(await Pack.open(store), bundles.cocoop, { engine: await engine() })
      const code = what === 'missing' ? 'model_not_found' : 'hash_mismatch'
      await expect(load).rejects.toMatchObject({ code, message: expect.stringContaining(name) })
    }
  })

  it('refuses what does not fit the budget before it reads anything, and takes what does', async () => {
    const read: string[] = []
    const store = new Proxy<Store>(await copy(), {
      get: (target, key) => {
        if (key !== 'get') return Reflect.get(target, key)
        return (name: string) => {
          read.push(name)
          return target.get(name)
        }
      },
    })
    const counted = await Pack.open(store)
    const { vision, text } = counted.manifest.towers
    const load = async (kind: Kind, maxMemoryBytes: number) => {
      await using classifier = await Classifier.load(counted, bundles[kind], { engine: await engine(), maxMemoryBytes })
      return (await classifier.classify((pictures[0] as Picture).bytes)).predictions.length
    }
    const refused = load('cocoop', vision + text)
    await expect(refused).rejects.toMatchObject({ code: 'out_of_memory_budget' })
    await expect(refused).rejects.toThrow(
      new RegExp(`vision ${vision}, text ${text}, work \\d+\\), the budget is ${vision + text}`),
    )
    expect(read).toEqual(['manifest.json'])
    const work = Number(/work (\d+)/.exec(String(await refused.catch(String)))?.[1])
    expect(await load('coop', vision + work)).toBe(5)
    expect(await load('cocoop', vision + text + work)).toBe(5)
    await expect(load('cocoop', vision + text + work - 1)).rejects.toMatchObject({ code: 'out_of_memory_budget' })
  })

  it.each([
    ['cut short', (json: string) => json.slice(0, -1)],
    ['of another version', (json: string) => json.replace('"version":1', '"version":2')],
    ['with a tensor elsewhere', (json: string) => json.replace('"offset":0', '"offset":64')],
    ['with a shard too few', (json: string) => json.replace(/\{"name":"tokens-1.bin"[^}]*\},/, '')],
  ])('a manifest %s is refused', async (_, change) => {
    const store = await copy()
    expect(change(pack.json)).not.toBe(pack.json)
    await store.put('manifest.json', new TextEncoder().encode(change(pack.json)))
    const load = async () => await (await engine()).loadModel(await Pack.open(store))
    await expect(load()).rejects.toMatchObject({ code: 'bad_pack' })
  })
})

describe('in WASM', () => {
  it('towers and token shards come when they are needed, each once, into one memory', async () => {
    const read: string[] = []
    const store = new Proxy(new FsStore(join(folder, '8')), {
      get: (target, key) => {
        const value = Reflect.get(target, key)
        if (key !== 'get' && key !== 'stream') return typeof value === 'function' ? value.bind(target) : value
        return (name: string, place?: Place) => {
          read.push(name)
          return value.call(target, name, place)
        }
      },
    })
    const engine = await wasmEngine()
    const before = engine.memory.buffer.byteLength
    using model = await engine.loadModel(await Pack.open(store))
    const { vision, text } = pack.manifest.towers
    const grown = () => engine.memory.buffer.byteLength - before
    expect(grown()).toBeLessThan(vision + 2_000_000)
    using fixed = await model.classifier(bundles.coop)
    await fixed.classify((pictures[0] as Picture).bytes)
    expect(read.filter((name) => !name.startsWith('vision-'))).toEqual(['manifest.json'])
    const opened = await Promise.all([model.classifier(bundles.cocoop), model.classifier(bundles.cocoop)])
    expect(read.filter((name) => name.startsWith('text-'))).toEqual(pack.shards('text').map(({ name }) => name))
    for (const classifier of opened) classifier[Symbol.dispose]()
    for (const classnames of [['red', 'blue'], ['blue', 'red'], ['red']]) {
      using other = await model.classifier(bundles.cocoop, { classnames })
      expect((await other.classify((pictures[0] as Picture).bytes)).probs.length).toBe(classnames.length)
    }
    const tokens = read.filter((name) => name.startsWith('tokens-'))
    expect(new Set(tokens).size).toBe(tokens.length)
    expect(tokens.length).toBeGreaterThan(0)
    expect(grown()).toBeLessThan(vision + text + 12_000_000)
  })
})

describe('HttpStore', () => {
  it('reads, says what is not there, and names what fails', async () => {
    const store = new HttpStore(url())
    expect(new TextDecoder().decode((await store.get('manifest.json')) as Bytes)).toBe(pack.json)
    expect(await store.get('nothing')).toBeNull()
    expect(await store.stream('nothing')).toBeNull()
    await expect(store.get('broken')).rejects.toMatchObject({
      code: 'store_unavailable',
      message: expect.stringContaining('500'),
    })
    await expect(new HttpStore('http://127.0.0.1:9').get('a')).rejects.toMatchObject({ code: 'store_unavailable' })
    await expect(store.put('a')).rejects.toMatchObject({ code: 'bad_option' })
    const asked: string[] = []
    const assets = new HttpStore('https://assets/packs', async (url) => new Response(String(asked.push(url))))
    await assets.get('pack/ab/manifest.json')
    expect(asked).toEqual(['https://assets/packs/pack/ab/manifest.json'])
  })

  it('a stream that breaks off is a store that does not answer', async () => {
    const store = await copy()
    const broken: Store = Object.assign(Object.create(store), {
      get: (key: string) => store.get(key),
      stream: async () =>
        new ReadableStream({
          pull(controller) {
            controller.enqueue(new Uint8Array(9))
            controller.error(new Error('reset'))
          },
        }),
    })
    const load = (await wasmEngine()).loadModel(await Pack.open(broken))
    await expect(load).rejects.toMatchObject({
      code: 'store_unavailable',
      message: expect.stringContaining('vision-0.bin'),
    })
  })
})
