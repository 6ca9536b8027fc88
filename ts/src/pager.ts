/**
 * Brings in what a call of a model on a pack could not do without, as an operating system does with pages: the core throws
 * `missing_tower` and notes what is wanted, and the call is made again when that is there. Bytes go from the store into WASM's
 * memory chunk by chunk.
 */
import type { Call, RawCancel } from './door.ts'
import { CocoopError, throwIfCancelled } from './errors.ts'
import { each, type Pack } from './pack.ts'
import { parseJson, type Tower, Wanted } from './schemas.ts'

/** A tower's memory while its shards are written into it. */
interface RawTower {
  address(shard: string): number
  free(): void
}
/** What a model on a pack has besides. */
export interface RawPacked {
  wanted(): string
  reserve(tower: Tower): RawTower
  addTower(tower: RawTower): void
  addTokens(shard: string, bytes: Uint8Array): void
}

/** A call may need towers and then tokens, and lose tokens to another call that needs many. */
const MAX_FAULTS = 8

export class Pager {
  /** Makes a call, and again after what it lacked was loaded. */
  readonly call: Call
  readonly #raw: RawPacked
  readonly #pack: Pack
  readonly #memory: WebAssembly.Memory
  readonly #call: Call
  readonly #checkBudget: (towers: Iterable<Tower>) => void
  readonly #towers = new Map<Tower, Promise<void>>()

  constructor(
    raw: RawPacked,
    pack: Pack,
    memory: WebAssembly.Memory,
    call: Call,
    checkBudget: (towers: Iterable<Tower>) => void,
  ) {
    this.#raw = raw
    this.#pack = pack
    this.#memory = memory
    this.#call = call
    this.#checkBudget = checkBudget
    const paged: Call = Object.assign(
      async <T>(signal: AbortSignal | undefined, run: (cancel: RawCancel | undefined) => T | Promise<T>) => {
        for (let faults = 1; ; faults += 1) {
          try {
            return await call(signal, run)
          } catch (error) {
            const lacks = CocoopError.is(error) && error.code === 'missing_tower'
            if (!lacks || faults === MAX_FAULTS || !(await this.#fetch(signal))) throw error
          }
        }
      },
      { sync: call.sync, failed: call.failed },
    )
    this.call = paged
  }

  /** Loads a tower once, whoever asks for it. */
  async tower(tower: Tower, signal: AbortSignal | undefined): Promise<void> {
    const known = this.#towers.get(tower)
    if (known) return await known
    this.#checkBudget([...this.#towers.keys(), tower])
    const loading = this.#load(tower, signal)
    this.#towers.set(tower, loading)
    try {
      await loading
    } catch (error) {
      this.#towers.delete(tower)
      throw error
    }
  }

  /** Loads what calls have asked for; false if that is nothing. */
  async #fetch(signal: AbortSignal | undefined): Promise<boolean> {
    const json = this.#call.sync(() => this.#raw.wanted())
    const { towers, shards } = parseJson(Wanted, json, 'wanted', 'internal')
    for (const tower of towers) await this.tower(tower, signal)
    await each(shards, async (name) => {
      throwIfCancelled(signal)
      const bytes = await this.#pack.get(this.#pack.shard(name))
      this.#call.sync(() => this.#raw.addTokens(name, bytes))
    })
    return towers.length + shards.length > 0
  }

  async #load(tower: Tower, signal: AbortSignal | undefined): Promise<void> {
    const reserved = this.#call.sync(() => this.#raw.reserve(tower))
    let given = false
    try {
      await each(this.#pack.shards(tower), async (shard) => {
        const address = this.#call.sync(() => reserved.address(shard.name))
        // The memory's buffer is asked for each time: it is another one after the memory has grown.
        const place = (offset: number) => new Uint8Array(this.#memory.buffer, address + offset, shard.bytes - offset)
        await this.#pack.read(shard, place, { signal })
      })
      given = true // a call that takes a WASM object frees it, whatever comes of it
      this.#call.sync(() => this.#raw.addTower(reserved))
    } finally {
      if (!given && !this.#call.failed()) reserved.free()
    }
  }
}
