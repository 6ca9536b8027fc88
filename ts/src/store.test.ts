/** Publishing and reading, with the real model and real bundles, proven by the WASM that a worker runs. */
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Kind, makeBundles, readModel } from '../../test/support/material.ts'
import { sha256 } from './hash.ts'
import {
  type Bytes,
  deleteAlias,
  listBundles,
  listModels,
  listVersions,
  loadModel,
  MemoryStore,
  type ModelFiles,
  publishBundle,
  publishModel,
  readAlias,
  readBundle,
  type Store,
  setAlias,
  type WasmEngine,
  wasmEngine,
} from './node.ts'
import { bundleKey, manifestKey, SHARD_BYTES } from './store.ts'

let files: ModelFiles & { id: string }
let modelHash: string
let bundles: Record<Kind, Bytes>
let engine: WasmEngine
let store: Store
beforeAll(async () => {
  files = await readModel()
  modelHash = await sha256(files.weights)
  bundles = await makeBundles()
  engine = await wasmEngine()
}, 120_000)
beforeEach(async () => {
  store = new MemoryStore()
  await publishModel(store, files)
})

describe('models', () => {
  it('come back as they were, out of checked shards', async () => {
    expect(await listModels(store)).toEqual([modelHash])
    const loaded = await loadModel(store, modelHash)
    expect(loaded.id).toBe('emoji-clip')
    expect(loaded.config).toBe(files.config)
    expect(await sha256(loaded.weights)).toBe(modelHash)
  })

  it('of more than one shard, none over the limit', async () => {
    const weights = new Uint8Array(2 * SHARD_BYTES + 7).map((_, i) => i % 251)
    const { shards, sha256: hash } = await publishModel(store, { id: 'large', weights, config: '{}' })
    expect(shards.map(({ bytes }) => bytes)).toEqual([SHARD_BYTES, SHARD_BYTES, 7])
    expect(await sha256((await loadModel(store, hash)).weights)).toBe(hash)
  })

  it('are refused with a missing, short or changed shard, a manifest that lies, or none', async () => {
    const { shards } = await publishModel(store, files)
    const { key } = shards[0] as { key: string }
    const bytes = (await store.get(key)) as Bytes
    await store.put(
      key,
      bytes.map((byte, i) => (i === 5 ? byte ^ 1 : byte)),
    )
    await expect(loadModel(store, modelHash)).rejects.toMatchObject({
      code: 'hash_mismatch',
      message: expect.stringContaining(key),
    })
    await store.put(key, bytes.subarray(1))
    await expect(loadModel(store, modelHash)).rejects.toMatchObject({ code: 'hash_mismatch' })
    await store.delete(key)
    await expect(loadModel(store, modelHash)).rejects.toMatchObject({ code: 'model_not_found' })
    await store.put(manifestKey(modelHash), new TextEncoder().encode('{"id":'))
    await expect(loadModel(store, modelHash)).rejects.toMatchObject({ code: 'bad_store' })
    await expect(loadModel(store, '0'.repeat(64))).rejects.toMatchObject({ code: 'model_not_found' })
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
