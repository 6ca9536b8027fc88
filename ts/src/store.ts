/**
 * What the store holds and how it is read and written: bundles, their aliases, models in shards (ARCHITECTURE.md, "The store").
 * Keys with a hash are never changed; an alias is moved last, so that a reader never meets half a publication.
 * The stores themselves (memory, KV, a folder) are in stores/.
 */
import type { Bytes, CallOptions, Engine, EngineModel, ModelFiles } from './engine.ts'
import { CocoopError, throwIfCancelled } from './errors.ts'
import { sha256 } from './hash.ts'
import { Alias, BundleName, type BundleRef, check, ModelManifest, parseJson } from './schemas.ts'

/** Bytes by key. Every failure of the medium is a CocoopError `store_unavailable` or `io`. */
export interface Store {
  get(key: string): Promise<Bytes | null>
  put(key: string, value: Uint8Array): Promise<void>
  /** All keys that begin with `prefix`, sorted. */
  list(prefix: string): Promise<string[]>
  /** Deletes a key; one that is not there is no error. */
  delete(key: string): Promise<void>
}

/** KV takes values of 25 MiB; a little room is left. */
export const SHARD_BYTES = 24 * 1024 * 1024
/** KV reads of one request: at most so many at a time. */
const CONCURRENT = 6

export const aliasKey = (name: string): string => `bundle/${name}`
export const bundleKey = (name: string, hash: string): string => `bundle/${name}@${hash}`
export const manifestKey = (hash: string): string => `model/${hash}/manifest`
const shardKey = (hash: string, index: number): string => `model/${hash}/${index}`
/** True for what is never changed once written. */
export const isImmutable = (key: string): boolean => key.startsWith('model/') || key.includes('@')

export interface StoredBundle {
  name: string
  sha256: string
  bytes: Bytes
}

/**
 * Where a name points to now.
 * @throws CocoopError `bundle_not_found`, `bad_store`
 */
export async function readAlias(store: Store, name: string): Promise<Alias> {
  const bytes = await store.get(aliasKey(name))
  if (!bytes) throw new CocoopError('bundle_not_found', `there is no bundle named \`${name}\``)
  return parseJson(Alias, new TextDecoder().decode(bytes), aliasKey(name), 'bad_store')
}

/**
 * The bytes of `name` or `name@sha256`, proven by their hash.
 * @throws CocoopError `bundle_not_found`, `hash_mismatch`
 */
export async function readBundle(store: Store, { name, sha256: wanted }: BundleRef): Promise<StoredBundle> {
  const hash = wanted ?? (await readAlias(store, name)).sha256
  const bytes = await store.get(bundleKey(name, hash))
  if (!bytes) throw new CocoopError('bundle_not_found', `there is no bundle \`${name}@${hash}\``)
  await verify(bytes, hash, bundleKey(name, hash))
  return { name, sha256: hash, bytes }
}

/** Every name with what it points to, sorted by name. */
export async function listBundles(store: Store): Promise<(Alias & { name: string })[]> {
  const names = (await store.list('bundle/'))
    .filter((key) => !key.includes('@'))
    .map((key) => key.slice('bundle/'.length))
  return await each(names, async (name) => ({ name, ...(await readAlias(store, name)) }))
}

/** The hashes of every stored bundle of a name, in no order of time. */
export async function listVersions(store: Store, name: string): Promise<string[]> {
  const prefix = bundleKey(name, '')
  return (await store.list(prefix)).map((key) => key.slice(prefix.length))
}

/**
 * Publishes a bundle: writes it under its hash, reads it back, opens it with `engine` on the stored model, compares the probe's
 * logits with those in the bundle, and only then moves the alias. Until that last step nothing that is served changes.
 * @throws CocoopError `bad_bundle` and the other words of bad files, `model_not_found`, `probe_failed`, `hash_mismatch`
 */
export async function publishBundle(
  store: Store,
  bundle: Uint8Array,
  options: CallOptions & { engine: Engine; name?: string | undefined; model?: EngineModel | undefined },
): Promise<Alias & { name: string }> {
  const { engine, signal } = options
  throwIfCancelled(signal)
  const metadata = engine.bundleMetadata(bundle)
  const name = check(BundleName, options.name ?? metadata.name, 'bundle name', 'bad_option')
  const hash = await sha256(bundle)
  await requireModel(store, metadata.model.sha256)
  throwIfCancelled(signal)
  await store.put(bundleKey(name, hash), bundle)
  const { bytes } = await readBundle(store, { name, sha256: hash })
  const own = options.model
    ? undefined
    : await engine.loadModel(await loadModel(store, metadata.model.sha256, { signal }), { signal })
  try {
    await runProbe(options.model ?? (own as EngineModel), bytes, signal)
  } finally {
    own?.[Symbol.dispose]()
  }
  throwIfCancelled(signal)
  return await setAlias(store, { name, sha256: hash }, { engine })
}

/**
 * Points a name to a bundle that is stored already: a roll-back, or the last step of publishing.
 * @throws CocoopError `bundle_not_found`, `hash_mismatch`, and the words of bad files
 */
export async function setAlias(
  store: Store,
  ref: { name: string; sha256: string },
  { engine }: { engine: Engine },
): Promise<Alias & { name: string }> {
  const { bytes } = await readBundle(store, ref)
  const metadata = engine.bundleMetadata(bytes)
  const current = (await store.get(aliasKey(ref.name))) ? await readAlias(store, ref.name) : null
  const alias: Alias = {
    sha256: ref.sha256,
    method: metadata.method,
    n_cls: metadata.classnames.length,
    model_sha256: metadata.model.sha256,
    previous: current && current.sha256 !== ref.sha256 ? current.sha256 : (current?.previous ?? null),
  }
  await store.put(aliasKey(ref.name), new TextEncoder().encode(JSON.stringify(alias)))
  return { name: ref.name, ...alias }
}

/** Takes a name away; its bundles stay under their hashes. */
export async function deleteAlias(store: Store, name: string): Promise<void> {
  await readAlias(store, name)
  await store.delete(aliasKey(name))
}

/** Writes a model's shards and then its manifest. The model's name in the store is the SHA-256 of its weights. */
export async function publishModel(
  store: Store,
  model: ModelFiles & { id: string },
  { signal }: CallOptions = {},
): Promise<ModelManifest> {
  const hash = await sha256(model.weights)
  const shards: ModelManifest['shards'] = []
  for (let start = 0; start < model.weights.length; start += SHARD_BYTES) {
    throwIfCancelled(signal)
    const shard = model.weights.subarray(start, start + SHARD_BYTES)
    const key = shardKey(hash, shards.length)
    await store.put(key, shard)
    shards.push({ key, bytes: shard.length, sha256: await sha256(shard) })
  }
  const manifest: ModelManifest = {
    id: model.id,
    sha256: hash,
    bytes: model.weights.length,
    config: model.config,
    shards,
  }
  await store.put(manifestKey(hash), new TextEncoder().encode(JSON.stringify(manifest)))
  return manifest
}

/** The manifests' hashes of all stored models. */
export async function listModels(store: Store): Promise<string[]> {
  const keys = await store.list('model/')
  return keys.filter((key) => key.endsWith('/manifest')).map((key) => key.slice('model/'.length, -'/manifest'.length))
}

/**
 * A stored model's manifest.
 * @throws CocoopError `model_not_found`, `bad_store`
 */
export async function requireModel(store: Store, hash: string): Promise<ModelManifest> {
  const bytes = await store.get(manifestKey(hash))
  if (!bytes) throw new CocoopError('model_not_found', `the store has no model with SHA-256 ${hash}: publish it first`)
  return parseJson(ModelManifest, new TextDecoder().decode(bytes), manifestKey(hash), 'bad_store')
}

/**
 * A model's files out of its shards, each proven by its hash.
 * @throws CocoopError `model_not_found`, `hash_mismatch`, `bad_store`
 */
export async function loadModel(
  store: Store,
  hash: string,
  { signal }: CallOptions = {},
): Promise<ModelFiles & { id: string }> {
  const manifest = await requireModel(store, hash)
  const starts: number[] = []
  let total = 0
  for (const shard of manifest.shards) {
    starts.push(total)
    total += shard.bytes
  }
  if (total !== manifest.bytes) {
    throw new CocoopError(
      'bad_store',
      `${manifestKey(hash)}: shards of ${total} bytes for a model of ${manifest.bytes}`,
    )
  }
  const weights = new Uint8Array(total)
  await each(manifest.shards, async (shard, index) => {
    throwIfCancelled(signal)
    const bytes = await store.get(shard.key)
    if (!bytes) throw new CocoopError('model_not_found', `the store lacks \`${shard.key}\`: publish the model again`)
    if (bytes.length !== shard.bytes) {
      throw new CocoopError('hash_mismatch', `\`${shard.key}\`: expected ${shard.bytes} bytes, got ${bytes.length}`)
    }
    await verify(bytes, shard.sha256, shard.key)
    weights.set(bytes, starts[index])
  })
  return { id: manifest.id, weights, config: manifest.config }
}

/** Opens a bundle and compares the probe image's logits with those that its writer stored. */
async function runProbe(model: EngineModel, bundle: Bytes, signal: AbortSignal | undefined): Promise<void> {
  using classifier = await model.classifier(bundle, { signal })
  const error = await classifier.probe()
  if (!(error <= PROBE_LIMIT)) {
    throw new CocoopError(
      'probe_failed',
      `the probe's logits are off by ${error} of their largest, the limit is ${PROBE_LIMIT}`,
    )
  }
}

/** Native and WASM differ by rounding alone: about 1e-6 of the largest logit. A wrong tensor or order differs by far more. */
export const PROBE_LIMIT = 1e-3

async function verify(bytes: Bytes, hash: string, key: string): Promise<void> {
  const got = await sha256(bytes)
  if (got !== hash) throw new CocoopError('hash_mismatch', `\`${key}\`: expected SHA-256 ${hash}, got ${got}`)
}

/** `run` for every item, a few at a time, results in the items' order. */
async function each<T, R>(items: T[], run: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  for (let start = 0; start < items.length; start += CONCURRENT) {
    results.push(...(await Promise.all(items.slice(start, start + CONCURRENT).map((item, i) => run(item, start + i)))))
  }
  return results
}
