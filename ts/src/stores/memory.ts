/** A store in memory: for tests and for servers that are filled when they start. */
import type { Bytes } from '../engine.ts'
import type { Store } from '../store.ts'

export class MemoryStore implements Store {
  readonly #values = new Map<string, Bytes>()

  async get(key: string): Promise<Bytes | null> {
    return this.#values.get(key)?.slice() ?? null
  }
  async put(key: string, value: Uint8Array): Promise<void> {
    this.#values.set(key, Uint8Array.from(value))
  }
  async list(prefix: string): Promise<string[]> {
    return [...this.#values.keys()].filter((key) => key.startsWith(prefix)).sort()
  }
  async delete(key: string): Promise<void> {
    this.#values.delete(key)
  }
}
