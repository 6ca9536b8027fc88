/** What an isolate keeps between requests: loaded things by key, and the gate before the engine. */
import { CocoopError } from 'cocoop'

interface Entry<T> {
  loading: Promise<T>
  value: T | undefined
  since: number
}

/** A load that has not ended after so long is taken for lost (its request was cut off), and the next request loads anew. */
const LOST_MS = 30_000

/**
 * At most `size` loaded things, least recently used out first. Requests for the same key share one load; a load that fails is
 * forgotten, and what was disposed of meanwhile is loaded again. Room is made before a load begins, so that no more than `size` stand in memory when it ends.
 */
export class SharedLru<T extends Disposable & { readonly disposed: boolean }> {
  readonly #size: number
  readonly #entries = new Map<string, Entry<T>>()

  constructor(size: number) {
    this.#size = size
  }

  async get(key: string, load: () => Promise<T>): Promise<T> {
    const known = this.#entries.get(key)
    this.#entries.delete(key)
    if (known && (known.value ? !known.value.disposed : Date.now() - known.since < LOST_MS)) {
      this.#entries.set(key, known)
      return await known.loading
    }
    this.#makeRoom()
    const entry: Entry<T> = { loading: load(), value: undefined, since: Date.now() }
    this.#entries.set(key, entry)
    try {
      entry.value = await entry.loading
      return entry.value
    } catch (error) {
      if (this.#entries.get(key) === entry) this.#entries.delete(key)
      throw error
    }
  }

  /** Whether anything is loaded. */
  get resident(): boolean {
    return [...this.#entries.values()].some(({ value }) => value !== undefined && !value.disposed)
  }

  /** Disposes of everything that is loaded; what is still loading stays, others wait for it. */
  clear(): void {
    for (const [key, { value }] of this.#entries) {
      if (value === undefined) continue
      this.#entries.delete(key)
      value[Symbol.dispose]()
    }
  }

  #makeRoom(): void {
    for (const [key, { value }] of this.#entries) {
      if (this.#entries.size < this.#size) return
      if (value === undefined) continue // still loading, and someone waits for it
      this.#entries.delete(key)
      value[Symbol.dispose]()
    }
  }
}

/**
 * One piece of work at a time. WASM never queues here, since it ends before another request is heard; the addon does.
 * @throws CocoopError `overloaded` when `waiting` others stand in line
 */
export class Gate {
  readonly #limit: number
  #inside = 0
  #last: Promise<unknown> = Promise.resolve()

  constructor(waiting: number) {
    this.#limit = waiting + 1
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inside >= this.#limit) throw new CocoopError('overloaded', `${this.#inside} images are waiting already`)
    this.#inside += 1
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => {})
    try {
      return await turn
    } finally {
      this.#inside -= 1
    }
  }
}
