/**
 * A store over Workers KV. KV is eventually consistent: elsewhere a moved alias is seen within about a minute.
 * Keys that never change are cached at the edge for a day, aliases for the shortest time that every KV accepts.
 */
import type { Bytes } from '../engine.ts'
import { CocoopError, messageOf } from '../errors.ts'
import { isImmutable, type Store } from '../store.ts'

/** The part of a KV namespace that is used; Cloudflare's own `KVNamespace` has it. */
export interface KvNamespace {
  get(key: string, options: { type: 'arrayBuffer'; cacheTtl: number }): Promise<ArrayBuffer | null>
  get(key: string, options: { type: 'stream'; cacheTtl: number }): Promise<ReadableStream | null>
  put(key: string, value: ArrayBuffer | ArrayBufferView): Promise<void>
  list(options: {
    prefix: string
    cursor?: string | null
  }): Promise<{ keys: { name: string }[]; list_complete: boolean; cursor?: string }>
  delete(key: string): Promise<void>
}

const DAY_SECONDS = 86_400
/** How long KV may serve an old alias from its own cache. */
export const ALIAS_TTL_SECONDS = 60

export class KvStore implements Store {
  readonly #kv: KvNamespace
  constructor(kv: KvNamespace) {
    this.#kv = kv
  }

  async get(key: string): Promise<Bytes | null> {
    const value = await answer(key, this.#kv.get(key, { type: 'arrayBuffer', cacheTtl: ttl(key) }))
    return value && new Uint8Array(value)
  }

  async stream(key: string): Promise<ReadableStream<Uint8Array> | null> {
    return await answer(key, this.#kv.get(key, { type: 'stream', cacheTtl: ttl(key) }))
  }

  async put(key: string, value: Uint8Array): Promise<void> {
    await answer(key, this.#kv.put(key, value))
  }

  async list(prefix: string): Promise<string[]> {
    const names: string[] = []
    let cursor: string | null = null
    do {
      const page: Awaited<ReturnType<KvNamespace['list']>> = await answer(prefix, this.#kv.list({ prefix, cursor }))
      names.push(...page.keys.map(({ name }) => name))
      cursor = page.list_complete ? null : (page.cursor ?? null)
    } while (cursor)
    return names.sort()
  }

  async delete(key: string): Promise<void> {
    await answer(key, this.#kv.delete(key))
  }
}

const ttl = (key: string) => (isImmutable(key) ? DAY_SECONDS : ALIAS_TTL_SECONDS)

async function answer<T>(key: string, promise: Promise<T>): Promise<T> {
  try {
    return await promise
  } catch (cause) {
    throw new CocoopError('store_unavailable', `KV, \`${key}\`: ${messageOf(cause)}`, { cause })
  }
}
