/**
 * What the store holds and how it is read and written: bundles, their aliases, model packs (ARCHITECTURE.md, "The store").
 * Keys with a hash are never changed; an alias is moved last, so that a reader never meets half a publication.
 * The stores themselves (memory, KV, a folder) are in stores/.
 */
import type { Bytes, CallOptions, Engine, EngineModel } from './engine.ts'
import { CocoopError, throwIfCancelled } from './errors.ts'
import { sha256 } from './hash.ts'
import { each, Pack } from './pack.ts'
import { Alias, type Bits, BundleName, type BundleRef, check, ModelAlias, parseJson } from './schemas.ts'

/** Where the bytes of a value are wanted, from `offset` on. It is asked anew for each chunk: the memory may have grown. */
export type Place = (offset: number) => Uint8Array

/** Bytes by key. Every failure of the medium is a CocoopError `store_unavailable` or `io`. */
export interface Store {
  get(key: string): Promise<Bytes | null>
  put(key: string, value: Uint8Array): Promise<void>
  /** All keys that begin with `prefix`, sorted. */
  list(prefix: string): Promise<string[]>
  /** Deletes a key; one that is not there is no error. */
  delete(key: string): Promise<void>
  /**
   * The value chunk by chunk, for what must not be held whole; a chunk may be overwritten when the next is asked for. A store
   * that reads into memory reads to `place`, where there is room. Where a store lacks `stream`, `get` is used.
   */
  stream?(key: string, place?: Place): Promise<ReadableStream<Uint8Array> | null>
  /** The file that holds a value, where values are files: it can be mapped. */
  path?(key: string): Promise<string | null>
}

export const aliasKey = (name: string): string => `bundle/${name}`
export const bundleKey = (name: string, hash: string): string => `bundle/${name}@${hash}`
export const modelKey = (hash: string): string => `model/${hash}`
/** What a pack's files lie under. */
export const packPrefix = (hash: string): string => `pack/${hash}/`
/** True for what is never changed once written. */
export const isImmutable = (key: string): boolean => key.startsWith('pack/') || key.includes('@')

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
  const pack = await openModel(store, metadata.model.sha256)
  throwIfCancelled(signal)
  await store.put(bundleKey(name, hash), bundle)
  const { bytes } = await readBundle(store, { name, sha256: hash })
  const own = options.model ? undefined : await engine.loadModel(pack, { signal })
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

/**
 * Writes a pack under its hash, its manifest last, and then points the model to it. Bundles name the model, not the pack:
 * they are served from the new one as soon as the pointer is seen.
 * @throws CocoopError `model_not_found`, `hash_mismatch`, `cancelled`
 */
export async function publishPack(store: Store, pack: Pack, { signal }: CallOptions = {}): Promise<ModelAlias> {
  const { id, bits, source_sha256, shards } = pack.manifest
  const prefix = packPrefix(pack.sha256)
  if (!(await store.get(`${prefix}manifest.json`))) {
    for (const shard of shards) {
      throwIfCancelled(signal)
      await store.put(prefix + shard.name, await pack.get(shard))
    }
    await store.put(`${prefix}manifest.json`, new TextEncoder().encode(pack.json))
  }
  const current = await findModel(store, source_sha256)
  const previous = current && current.pack !== pack.sha256 ? current.pack : (current?.previous ?? null)
  const alias: ModelAlias = { id, pack: pack.sha256, bits, previous }
  await store.put(modelKey(source_sha256), new TextEncoder().encode(JSON.stringify(alias)))
  return alias
}

/** The hashes of the source weights of all stored models. */
export async function listModels(store: Store): Promise<string[]> {
  return (await store.list('model/')).map((key) => key.slice('model/'.length))
}

/** What serves a model, or null where the store does not have it. */
export async function findModel(store: Store, hash: string): Promise<ModelAlias | null> {
  const bytes = await store.get(modelKey(hash))
  return bytes && parseJson(ModelAlias, new TextDecoder().decode(bytes), modelKey(hash), 'bad_store')
}

/**
 * The pack that serves a model, by the hash of its source weights.
 * @throws CocoopError `model_not_found`, `bad_store`, `bad_pack`, `hash_mismatch`
 */
export async function openModel(store: Store, hash: string): Promise<Pack> {
  const alias = await findModel(store, hash)
  if (!alias) throw new CocoopError('model_not_found', `the store has no model with SHA-256 ${hash}: publish it first`)
  const prefix = packPrefix(alias.pack)
  const pack = await Pack.open(store, prefix)
  for (const [what, expected, got] of [
    ['manifest.json', alias.pack, pack.sha256],
    ['manifest.json, source_sha256', hash, pack.manifest.source_sha256],
  ]) {
    if (got !== expected)
      throw new CocoopError('hash_mismatch', `\`${prefix}${what}\`: expected ${expected}, got ${got}`)
  }
  return pack
}

/** Opens a bundle and compares the probe image's logits with those that its writer stored. */
async function runProbe(model: EngineModel, bundle: Bytes, signal: AbortSignal | undefined): Promise<void> {
  using classifier = await model.classifier(bundle, { signal })
  const bits = model.info.pack?.bits ?? 32
  const [error, limit] = [await classifier.probe(), PROBE_LIMITS[bits]]
  if (!(error <= limit)) {
    const message = `the probe's logits are off by ${error} of their largest, the limit of a ${bits}-bit model is ${limit}`
    throw new CocoopError('probe_failed', message)
  }
}

/**
 * How far the probe's logits may be off, of their largest, by the bits of the model that serves. Native and WASM differ by rounding
 * alone, about 1e-6. What quantising costs was measured on the embedded model, whose every bundle is off by at most 0.043 at 8 bits
 * and 0.104 at 4; with the weights of two layers exchanged it is more than the limit at any bits.
 */
export const PROBE_LIMITS: Record<Bits, number> = { 32: 1e-3, 16: 5e-3, 8: 0.12, 4: 0.18 }

async function verify(bytes: Bytes, hash: string, key: string): Promise<void> {
  const got = await sha256(bytes)
  if (got !== hash) throw new CocoopError('hash_mismatch', `\`${key}\`: expected SHA-256 ${hash}, got ${got}`)
}
