/** Small pictures for a page, as the model sees them: the middle square, scaled as CLIP does. Each is a PNG in a data: URL. */
import { type WasmEngine, wasmEngine } from 'cocoop/node'
import { type Dataset, type Item, isSplit } from '../datasets/dataset.ts'
import { openDataset } from '../datasets/open.ts'
import { encodePng } from './png.ts'

/** Side in pixels. */
export const SIDE = 80

/** Makes pictures until they have taken so many bytes of the page. */
export class Pictures {
  readonly #made = new Map<string, string | undefined>()
  readonly #sets = new Map<string, Promise<Map<string, Item> | undefined>>()
  /** What was missing, each once. */
  readonly notes = new Set<string>()
  #engine: Promise<WasmEngine> | undefined
  #left = 0

  /** Pictures may take so many bytes more. */
  allow(bytes: number): void {
    this.#left = bytes
  }

  /**
   * The picture at `path` of a data set's split as a data: URL. What cannot be read is noted and `undefined`.
   * @param target what opens the data set, `name` what it calls itself
   */
  async get({ target, root, name, split }: Source, path: string): Promise<string | undefined> {
    const key = JSON.stringify([target, split, path])
    if (!this.#made.has(key)) this.#made.set(key, await this.#make({ target, root, name, split }, path))
    const url = this.#made.get(key)
    if (url === undefined) return undefined
    if (url.length > this.#left) {
      this.notes.add('Some pictures are left out to keep this page small.')
      return undefined
    }
    this.#left -= url.length
    return url
  }

  async #make({ target, root, name, split }: Source, path: string): Promise<string | undefined> {
    const items = await this.#open({ target, root, name, split })
    if (items === undefined) return undefined
    const item = items.get(path)
    if (item === undefined) {
      this.notes.add(`The data set ${name} no longer holds some of the pictures that were tested.`)
      return undefined
    }
    try {
      this.#engine ??= wasmEngine()
      const engine = await this.#engine
      if (engine.failed) this.#engine = wasmEngine() // a trap: the next picture has a new one
      const pixels = (await this.#engine).view(await item.read(), SIDE)
      return `data:image/png;base64,${encodePng(pixels, SIDE, SIDE).toString('base64')}`
    } catch (cause) {
      this.notes.add(
        `Some pictures of ${name} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      )
      return undefined
    }
  }

  #open({ target, root, name, split }: Source): Promise<Map<string, Item> | undefined> {
    const key = JSON.stringify([target, root, split])
    const opened = this.#sets.get(key) ?? this.#openSet({ target, root, name, split })
    this.#sets.set(key, opened)
    return opened
  }

  async #openSet({ target, root, name, split }: Source): Promise<Map<string, Item> | undefined> {
    try {
      const dataset: Dataset = await openDataset(target, { root })
      return new Map((isSplit(split) ? dataset[split] : []).map((item) => [item.path, item]))
    } catch (cause) {
      this.notes.add(
        `There are no pictures: the data set ${name} cannot be opened (${cause instanceof Error ? cause.message : String(cause)}).`,
      )
      return undefined
    }
  }
}

export interface Source {
  target: string
  /** The folder of the papers' sets, where the run was given one. */
  root: string | undefined
  name: string
  split: string
}
