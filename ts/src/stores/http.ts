/** A store that is read over HTTP: a folder of files on any web server, or the static assets of a worker (its binding's `fetch`). */
import type { Bytes } from '../engine.ts'
import { CocoopError, messageOf } from '../errors.ts'
import type { Store } from '../store.ts'

export class HttpStore implements Store {
  readonly #base: string
  readonly #fetch: (url: string) => Promise<Response>

  /** @param fetch where to ask, `(url) => env.ASSETS.fetch(url)` for static assets; any host will do in `base` then */
  constructor(base: string | URL, fetch: (url: string) => Promise<Response> = (url) => globalThis.fetch(url)) {
    this.#base = String(base).replace(/\/*$/, '/')
    this.#fetch = fetch
  }

  async get(key: string): Promise<Bytes | null> {
    const response = await this.#ask(key)
    return response && new Uint8Array(await this.#answer(key, response.arrayBuffer()))
  }

  async stream(key: string): Promise<ReadableStream<Uint8Array> | null> {
    return (await this.#ask(key))?.body ?? null
  }

  async put(key: string): Promise<void> {
    throw this.#readOnly(key)
  }
  async list(prefix: string): Promise<string[]> {
    throw this.#readOnly(prefix)
  }
  async delete(key: string): Promise<void> {
    throw this.#readOnly(key)
  }

  async #ask(key: string): Promise<Response | null> {
    const url = this.#base + key.split('/').map(encodeURIComponent).join('/')
    const response = await this.#answer(key, this.#fetch(url))
    if (response.ok) return response
    await response.body?.cancel()
    if (response.status === 404) return null
    throw new CocoopError('store_unavailable', `${url}: HTTP ${response.status}`)
  }

  async #answer<T>(key: string, promise: Promise<T>): Promise<T> {
    try {
      return await promise
    } catch (cause) {
      throw new CocoopError('store_unavailable', `${this.#base}${key}: ${messageOf(cause)}`, { cause })
    }
  }

  #readOnly(key: string): CocoopError {
    return new CocoopError('bad_option', `${this.#base}${key}: a store over HTTP is only read`)
  }
}
