/** Publishing and reading, with the real model and real bundles, proven by the WASM that a worker runs. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Kind, makeBundles, makePack } from '../../test/support/material.ts'
import { sha256 } from './hash.ts'
import {
  type Bytes,
  deleteAlias,
  findModel,
  listBundles,
  listModels,
  listVersions,
  MemoryStore,
  openModel,
  Pack,
  publishBundle,
  publishPack,
  readAlias,
  readBundle,
  type Store,
  setAlias,
  type WasmEngine,
  wasmEngine,
} from './node.ts'
import { bundleKey, modelKey } from './store.ts'

const folder = await mkdtemp(join(tmpdir(), 'cocoop-packs-'))
afterAll(() => rm(folder, { recursive: true }))
let pack: Pack
let eight: Pack
let modelHash: string
let bundles: Record<Kind, Bytes>
let engine: WasmEngine
let store: Store
beforeAll(async () => {
  pack = await makePack(join(folder, '32'), 32)
  eight = await makePack(join(folder, '8'), 8)
  modelHash = pack.manifest.source_sha256
  bundles = await makeBundles()
  engine = await wasmEngine()
}, 120_000)
beforeEach(async () => {
  store = new MemoryStore()
  await publishPack(store, pack)
})

describe('models', () => {
  it('are packs under their own hash, found by the hash of their source', async () => {
    expect(await listModels(store)).toEqual([modelHash])
    expect(await findModel(store, modelHash)).toEqual({ id: 'emoji-clip', pack: pack.sha256, bits: 32, previous: null })
    const stored = await openModel(store, modelHash)
    expect(stored.json).toBe(pack.json)
    expect((await store.list(`pack/${pack.sha256}/`)).length).toBe(pack.manifest.shards.length + 1)
    await publishPack(store, eight)
    expect(await findModel(store, modelHash)).toEqual({
      id: 'emoji-clip',
      pack: eight.sha256,
      bits: 8,
      previous: pack.sha256,
    })
    expect(await findModel(store, '0'.repeat(64))).toBeNull()
  })

  it('are refused where the store holds something else, or nothing', async () => {
    const key = `pack/${pack.sha256}/manifest.json`
    await store.put(key, new TextEncoder().encode(eight.json))
    await expect(openModel(store, modelHash)).rejects.toMatchObject({ code: 'hash_mismatch' })
    await store.put(key, new TextEncoder().encode('{"id":'))
    await expect(openModel(store, modelHash)).rejects.toMatchObject({ code: 'bad_pack' })
    await store.delete(key)
    await expect(openModel(store, modelHash)).rejects.toMatchObject({ code: 'model_not_found' })
    await store.put(modelKey(modelHash), new TextEncoder().encode('{"id":'))
    await expect(openModel(store, modelHash)).rejects.toMatchObject({ code: 'bad_store' })
    await expect(openModel(store, '0'.repeat(64))).rejects.toMatchObject({ code: 'model_not_found' })
    await expect(publishPack(store, pack, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'cancelled' })
  })
})

describe('bundles', () => {
  it('are published under their hash and their name, and listed', async () => {
    const alias = await publishBundle(store, bundles.cocoop, { engine })
    const hash = await sha256(bundles.cocoop)
    expect(alias).toEqual({
      name: 'cocoop',
      sha256: hash,
      method: 'cocoop',
      n_cls: 20,
      model_sha256: modelHash,
      previous: null,
    })
    expect(await readBundle(store, { name: 'cocoop', sha256: undefined })).toEqual({
      name: 'cocoop',
      sha256: hash,
      bytes: bundles.cocoop,
    })
    expect(await listBundles(store)).toEqual([alias])
    expect(await publishBundle(store, bundles.cocoop, { engine })).toEqual(alias)
  })

  it('roll back by their alias, which remembers what it was', async () => {
    const [a, b] = [await sha256(bundles.coop), await sha256(bundles.cocoop)]
    await publishBundle(store, bundles.coop, { engine, name: 'prod' })
    expect(await publishBundle(store, bundles.cocoop, { engine, name: 'prod' })).toMatchObject({
      sha256: b,
      previous: a,
    })
    expect(await setAlias(store, { name: 'prod', sha256: a }, { engine })).toMatchObject({ sha256: a, previous: b })
    expect((await listVersions(store, 'prod')).sort()).toEqual([a, b].sort())
    await deleteAlias(store, 'prod')
    await expect(readAlias(store, 'prod')).rejects.toMatchObject({ code: 'bundle_not_found' })
    expect((await readBundle(store, { name: 'prod', sha256: b })).bytes).toEqual(bundles.cocoop)
    await expect(deleteAlias(store, 'prod')).rejects.toMatchObject({ code: 'bundle_not_found' })
  })

  it('are refused, and the name left alone, when anything is wrong', async () => {
    const before = await publishBundle(store, bundles.coop, { engine, name: 'prod' })
    const publish = (bundle: Uint8Array, from: Store = store) => publishBundle(from, bundle, { engine, name: 'prod' })
    await expect(publish(bundles.cocoop.slice(0, -4))).rejects.toMatchObject({ code: 'bad_safetensors' })
    await expect(publish(bundles.cocoop, new MemoryStore())).rejects.toMatchObject({ code: 'model_not_found' })
    await expect(publishBundle(store, bundles.cocoop, { engine, name: 'a/b' })).rejects.toMatchObject({
      code: 'bad_option',
    })
    await expect(publishBundle(store, bundles.cocoop, { engine, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'cancelled',
    })
    // A store that gives back other bytes than it was given.
    const forgetful = new Proxy(store, {
      get: (target, key) =>
        key === 'put'
          ? async (name: string, bytes: Uint8Array) => target.put(name, bytes.subarray(1))
          : Reflect.get(target, key).bind(target),
    })
    await expect(publish(bundles.cocoop, forgetful)).rejects.toMatchObject({ code: 'hash_mismatch' })
    expect(await readAlias(store, 'prod')).toEqual({ ...before, name: undefined })
  })

  it.each([4, 8, 16] as const)(
    'pass their probe on a pack of %i bits, and fail it with a wrong tensor',
    async (bits) => {
      const pack = await makePack(join(folder, `probe-${bits}`), bits)
      await publishPack(store, pack)
      for (const bundle of Object.values(bundles)) await publishBundle(store, bundle, { engine })
      for (const leaf of ['attn.in_proj_weight', 'attn.out_proj.weight', 'mlp.c_fc.weight', 'mlp.c_proj.weight']) {
        await publishPack(store, await exchanged(pack, leaf))
        const publish = publishBundle(store, bundles.cocoop, { engine, name: 'wrong' })
        await expect(publish, leaf).rejects.toMatchObject({ code: 'probe_failed' })
      }
    },
  )

  it('that do not give their probe logits are refused', async () => {
    const changed = bundles.coop.slice()
    const view = new DataView(changed.buffer)
    const start = 8 + Number(view.getBigUint64(0, true))
    const header = JSON.parse(new TextDecoder().decode(changed.subarray(8, start)))
    view.setFloat32(start + header['probe.logits'].data_offsets[0], 5, true)
    await expect(publishBundle(store, changed, { engine })).rejects.toMatchObject({ code: 'probe_failed' })
    await expect(readAlias(store, 'coop')).rejects.toMatchObject({ code: 'bundle_not_found' })
  })

  it('are refused where the stored bytes are not those of the hash', async () => {
    const { sha256: hash } = await publishBundle(store, bundles.coop, { engine })
    await store.put(bundleKey('coop', hash), bundles.cocoop)
    await expect(readBundle(store, { name: 'coop', sha256: undefined })).rejects.toMatchObject({
      code: 'hash_mismatch',
    })
    await expect(setAlias(store, { name: 'coop', sha256: hash }, { engine })).rejects.toMatchObject({
      code: 'hash_mismatch',
    })
  })
})

interface Placed {
  name: string
  offset: number
  bytes: number
}

/** The pack with this tensor of the image tower's second and third block, stored alike, exchanged and its hashes made right: only a probe can tell. */
async function exchanged(pack: Pack, leaf: string): Promise<Pack> {
  const manifest = JSON.parse(pack.json) as { tensors: Placed[]; shards: { name: string; sha256: string }[] }
  const [a, b] = [1, 2].map((i) =>
    manifest.tensors.find(({ name }) => name === `visual.transformer.resblocks.${i}.${leaf}`),
  )
  const [shard, ...others] = pack.shards('vision')
  if (!a || !b || !shard || others.length > 0) throw new Error(`${leaf} is not in one shard`)
  const bytes = await pack.get(shard)
  const kept = bytes.slice(a.offset, a.offset + a.bytes)
  bytes.copyWithin(a.offset, b.offset, b.offset + a.bytes)
  bytes.set(kept, b.offset)
  const made = new MemoryStore()
  for (const other of pack.manifest.shards) await made.put(other.name, other === shard ? bytes : await pack.get(other))
  for (const entry of manifest.shards) if (entry.name === shard.name) entry.sha256 = await sha256(bytes)
  await made.put('manifest.json', new TextEncoder().encode(JSON.stringify(manifest)))
  return await Pack.open(made)
}
