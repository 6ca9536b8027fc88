/** A model pack as it lies in a store: its manifest, and its shards, each proven by its hash (docs/pack-format.md). */
import type { Bytes, CallOptions } from './engine.ts'
import { CocoopError, messageOf, throwIfCancelled } from './errors.ts'
import { sha256, streamHasher } from './hash.ts'
import { PackManifest, type PackShard, parseJson, type Tower } from './schemas.ts'
import type { Place, Store } from './store.ts'

const MANIFEST = 'manifest.json'

/** Reads of one request: at most so many at a time, as workers allow. */
const CONCURRENT = 6

/** A pack that can be loaded: {@link Pack.open} makes one of a store. */
export interface Pack {
  /** The pack's name: SHA-256 of {@link json}. */
  readonly sha256: string
  readonly manifest: PackManifest
  /** The manifest as it is stored, for the core's strict reader. */
  readonly json: string
  /** The shards of a tower; none where the pack leaves it out. */
  shards(tower: Tower): PackShard[]
  /** The shard of this name. */
  shard(name: string): PackShard
  /**
   * The file that holds a shard, where the store has files.
   * @throws CocoopError `model_not_found` with the shard's name
   */
  path(shard: PackShard): Promise<string | undefined>
  /**
   * One whole shard.
   * @throws CocoopError `model_not_found`, `hash_mismatch`, each with the shard's name
   */
  get(shard: PackShard): Promise<Bytes>
  /**
   * Streams a shard to where it is wanted, and proves it.
   * @throws CocoopError as {@link get}, `store_unavailable`, `cancelled`
   */
  read(shard: PackShard, place: Place, options?: CallOptions): Promise<void>
}

class StoredPack implements Pack {
  readonly sha256: string
  readonly manifest: PackManifest
  readonly json: string
  readonly #store: Store
  readonly #prefix: string

  constructor(store: Store, prefix: string, json: string, hash: string) {
    this.#store = store
    this.#prefix = prefix
    this.json = json
    this.sha256 = hash
    this.manifest = parseJson(PackManifest, json, `${prefix}${MANIFEST}`, 'bad_pack')
  }

  shards(tower: Tower): PackShard[] {
    return this.manifest.shards.filter((shard) => shard.tower === tower)
  }

  shard(name: string): PackShard {
    const found = this.manifest.shards.find((shard) => shard.name === name)
    if (!found) throw new CocoopError('internal', `the pack has no shard \`${name}\``)
    return found
  }

  async path(shard: PackShard): Promise<string | undefined> {
    const path = await this.#store.path?.(this.#prefix + shard.name)
    if (path === null) throw this.#missing(shard)
    return path
  }

  async get(shard: PackShard): Promise<Bytes> {
    const bytes = await this.#store.get(this.#prefix + shard.name)
    if (!bytes) throw this.#missing(shard)
    if (bytes.length !== shard.bytes) throw this.#length(shard, bytes.length)
    this.#verify(shard, await sha256(bytes))
    return bytes
  }

  async read(shard: PackShard, place: Place, { signal }: CallOptions = {}): Promise<void> {
    const hasher = streamHasher()
    let offset = 0
    for await (const chunk of this.#chunks(shard, place)) {
      throwIfCancelled(signal)
      if (offset + chunk.length > shard.bytes) throw this.#length(shard, offset + chunk.length)
      const there = place(offset)
      if (chunk.buffer !== there.buffer) there.set(chunk)
      await hasher?.update(chunk)
      offset += chunk.length
    }
    if (offset !== shard.bytes) throw this.#length(shard, offset)
    this.#verify(shard, hasher ? await hasher.hex() : await sha256(place(0)))
  }

  async *#chunks(shard: PackShard, place: Place): AsyncGenerator<Uint8Array> {
    const key = this.#prefix + shard.name
    if (!this.#store.stream) {
      yield await this.get(shard)
      return
    }
    const stream = await this.#store.stream(key, place)
    if (!stream) throw this.#missing(shard)
    const reader = stream.getReader()
    let ended = false
    try {
      for (;;) {
        const { done, value } = await reader.read().catch((cause: unknown) => {
          ended = true
          throw (
            CocoopError.from(cause) ??
            new CocoopError('store_unavailable', `\`${key}\`: ${messageOf(cause)}`, { cause })
          )
        })
        ended = done
        if (done) return
        yield value
      }
    } finally {
      if (!ended) await reader.cancel()
    }
  }

  #missing({ name }: PackShard): CocoopError {
    return new CocoopError('model_not_found', `the model pack lacks \`${this.#prefix}${name}\`: publish it again`)
  }

  #length({ name, bytes }: PackShard, got: number): CocoopError {
    return new CocoopError('hash_mismatch', `\`${this.#prefix}${name}\`: expected ${bytes} bytes, got ${got}`)
  }

  #verify({ name, sha256: expected }: PackShard, got: string): void {
    if (got === expected) return
    throw new CocoopError('hash_mismatch', `\`${this.#prefix}${name}\`: expected SHA-256 ${expected}, got ${got}`)
  }
}

export const Pack = {
  /**
   * Reads the manifest at `prefix` of the store; a folder of its own is the store `new FsStore(folder)` and no prefix.
   * @throws CocoopError `model_not_found`, `bad_pack`
   */
  async open(store: Store, prefix = ''): Promise<Pack> {
    const bytes = await store.get(prefix + MANIFEST)
    if (!bytes) throw new CocoopError('model_not_found', `there is no model pack: \`${prefix}${MANIFEST}\` is missing`)
    return new StoredPack(store, prefix, new TextDecoder().decode(bytes), await sha256(bytes))
  },

  /** True for a pack, also across two copies of this package. */
  is(value: object): value is Pack {
    return 'manifest' in value && 'shards' in value
  },
}

/** `run` for every item, a few at a time, results in the items' order. */
export async function each<T, R>(items: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length)
  const left = items.entries()
  let failed = false
  const work = async () => {
    for (const [index, item] of left) {
      if (failed) return
      try {
        results[index] = await run(item)
      } catch (error) {
        failed = true // the others end with what they are at
        throw error
      }
    }
  }
  const ended = await Promise.allSettled(Array.from({ length: CONCURRENT }, work))
  for (const result of ended) if (result.status === 'rejected') throw result.reason
  return results
}
