/**
 * The one adapter over both doors: JSON to checked objects, `Scores` to plain arrays, dispose.
 * What differs between the doors (promises, cancelling, what a failure means) is in the `Call` that napi.ts and wasm.ts give.
 */
import type {
  Bytes,
  CallOptions,
  Embedded,
  Engine,
  EngineClassifier,
  EngineModel,
  LoadModelOptions,
  ModelFiles,
  Scores,
  TextOptions,
} from './engine.ts'
import { CocoopError, throwIfCancelled } from './errors.ts'
import { Pack } from './pack.ts'
import {
  BadImage,
  BundleMetadata,
  InspectedImage,
  ModelInfo,
  PackMemory,
  parseJson,
  type Tower,
  type ZeroShotSpec,
} from './schemas.ts'

type Awaitable<T> = T | Promise<T>

/** Prompts that one call of a door is given: between two calls there is news, and WASM can be stopped. */
const PROMPTS_AT_ONCE = 2048

/** Stops the addon's call it was given to. */
export interface RawCancel {
  cancel(): void
}
export interface RawScores {
  readonly probs: Float32Array
  readonly cosines: Float32Array
  free?(): void
}
export interface RawClassifier {
  readonly metadata: string
  classify(image: Uint8Array, cancel?: RawCancel): Awaitable<RawScores>
  score(image_features: Float32Array, cancel?: RawCancel): Awaitable<RawScores>
  probe(): Awaitable<number>
  free?(): void
}
export interface RawModel {
  readonly info: string
  inspectImages(images: Uint8Array[]): Awaitable<string>
  embedTexts(texts: string[], truncate: boolean, cancel?: RawCancel): Awaitable<Float32Array>
  textFeatures(classnames: string[], templates: string[], cancel?: RawCancel): Awaitable<Float32Array>
  score(image_features: Float32Array, text_features: Float32Array): Awaitable<RawScores>
  zeroShotBundle(spec: string, text_features?: Float32Array): Awaitable<Uint8Array>
  classifier(bundle: Uint8Array, classnames?: string[]): Awaitable<RawClassifier>
  free?(): void
}
/** What both doors have, and under the same names. */
export interface RawDoor {
  bundleMetadata(bundle: Uint8Array): string
  packMemory(manifest: string): string
  tokenize(text: string): Uint32Array
  errorCodes(): string[]
  version(): string
}

/** Runs one call of a door and makes every failure a CocoopError. */
export interface Call {
  <T>(signal: AbortSignal | undefined, run: (cancel: RawCancel | undefined) => Awaitable<T>): Promise<T>
  /** The same for what is synchronous in both doors. */
  sync<T>(run: () => T): T
  /** Whether the door stopped for good. */
  failed(): boolean
}

/** What WASM's objects have besides: wasm-bindgen's own name for giving up a pointer without freeing it. */
interface RawObject {
  free?(): void
  __destroy_into_raw?(): void
}

/** A raw object until it is disposed. */
class Handle<T extends RawObject> {
  #raw: T | undefined
  constructor(raw: T) {
    this.#raw = raw
  }
  get gone(): boolean {
    return this.#raw === undefined
  }
  get raw(): T {
    if (this.#raw === undefined) throw new CocoopError('disposed', 'used after it was disposed')
    return this.#raw
  }
  free(call: Call): void {
    const raw = this.#raw
    this.#raw = undefined
    try {
      if (raw?.free) call.sync(() => raw.free?.())
    } catch (error) {
      if (!CocoopError.is(error) || error.code !== 'disposed') throw error
      // The instance stopped and is dropped whole: the garbage collector must not free anything in it later.
      raw?.__destroy_into_raw?.()
    }
  }
}

export abstract class DoorEngine<Door extends RawDoor> implements Engine {
  abstract readonly name: string
  abstract readonly failed: boolean
  protected readonly door: Door
  protected readonly call: Call

  constructor(door: Door, call: Call) {
    this.door = door
    this.call = call
  }

  /** A pack is checked whole, and against the budget, before any of its shards is read. */
  async loadModel(model: ModelFiles | Pack, options: LoadModelOptions = {}): Promise<EngineModel> {
    throwIfCancelled(options.signal)
    if (!Pack.is(model)) return await this.loadFiles(model, options)
    this.checkBudget(model, options.towers ?? ['vision'], options.maxMemoryBytes)
    return await this.loadPack(model, options)
  }
  protected abstract loadFiles(files: ModelFiles, options: CallOptions): Promise<EngineModel>
  protected abstract loadPack(pack: Pack, options: LoadModelOptions): Promise<EngineModel>

  /** @throws CocoopError `out_of_memory_budget` with the numbers; `bad_pack` and the other words of bad manifests */
  protected checkBudget(pack: Pack, towers: Iterable<Tower>, limit: number | undefined): void {
    if (limit === undefined) return
    const json = this.call.sync(() => this.door.packMemory(pack.json))
    const { vision, text, work } = parseJson(PackMemory, json, 'pack memory', 'internal')
    const wanted = new Set(towers)
    const parts = [
      wanted.has('vision') && (['vision', vision] as const),
      wanted.has('text') && (['text', text] as const),
    ]
    const held = [...parts.filter((part) => part !== false), ['work', work] as const]
    const total = held.reduce((sum, [, bytes]) => sum + bytes, 0)
    if (total <= limit) return
    const message = `the ${pack.manifest.bits}-bit pack of ${pack.manifest.id} needs ${total} bytes of memory (${held.map((part) => part.join(' ')).join(', ')}), the budget is ${limit}`
    throw new CocoopError('out_of_memory_budget', message)
  }

  bundleMetadata(bundle: Uint8Array): BundleMetadata {
    return parseJson(
      BundleMetadata,
      this.call.sync(() => this.door.bundleMetadata(bundle)),
      'bundle metadata',
      'bad_bundle',
    )
  }
  tokenize(text: string): Uint32Array {
    return this.call.sync(() => this.door.tokenize(text))
  }
  errorCodes(): string[] {
    return this.call.sync(() => this.door.errorCodes())
  }
  version(): string {
    return this.call.sync(() => this.door.version())
  }
}

/** `embed` is the one call whose form differs: the addon takes all images at once, WASM one. */
export abstract class DoorModel<Raw extends RawModel> implements EngineModel {
  protected readonly handle: Handle<Raw>
  protected readonly call: Call
  #info: ModelInfo | undefined

  constructor(raw: Raw, call: Call) {
    this.handle = new Handle(raw)
    this.call = call
  }

  /** Asked for the first time, it reads the weights through for their hash. */
  get info(): ModelInfo {
    this.#info ??= parseJson(
      ModelInfo,
      this.call.sync(() => this.handle.raw.info),
      'model info',
      'internal',
    )
    return this.#info
  }

  get disposed(): boolean {
    return this.handle.gone || this.call.failed()
  }

  abstract embedImages(images: Uint8Array[], options?: CallOptions): Promise<Embedded>

  async inspectImages(images: Uint8Array[]): Promise<InspectedImage[]> {
    const json = await this.call(undefined, () => this.handle.raw.inspectImages(images))
    return parseJson(InspectedImage.array(), json, 'inspected images', 'internal')
  }

  embedTexts(
    texts: readonly string[],
    { truncate = false, ...options }: TextOptions & { truncate?: boolean | undefined } = {},
  ): Promise<Float32Array> {
    return this.#eachBatch(texts, 1, options, (some, cancel) => this.handle.raw.embedTexts(some, truncate, cancel))
  }

  async textFeatures(
    classnames: readonly string[],
    templates: readonly string[],
    options: TextOptions = {},
  ): Promise<Float32Array> {
    if (classnames.length === 0) throw new CocoopError('bad_classes', 'class names: the list is empty')
    return await this.#eachBatch(classnames, templates.length, options, (some, cancel) =>
      this.handle.raw.textFeatures(some, [...templates], cancel),
    )
  }

  /** Rows (n, embed_dim) of `list`, whose entries are `prompts` prompts each, some at a time. */
  async #eachBatch(
    list: readonly string[],
    prompts: number,
    { signal, onProgress }: TextOptions,
    run: (some: string[], cancel: RawCancel | undefined) => Awaitable<Float32Array>,
  ): Promise<Float32Array> {
    throwIfCancelled(signal)
    const { embed_dim } = this.info
    const rows = new Float32Array(list.length * embed_dim)
    const atOnce = Math.max(1, Math.floor(PROMPTS_AT_ONCE / Math.max(1, prompts)))
    for (let start = 0; start < list.length; start += atOnce) {
      const some = list.slice(start, start + atOnce)
      rows.set(await this.call(signal, (cancel) => run(some, cancel)), start * embed_dim)
      onProgress?.((start + some.length) * prompts, list.length * prompts)
    }
    return rows
  }

  async score(
    image_features: Float32Array,
    text_features: Float32Array,
    { signal }: CallOptions = {},
  ): Promise<Scores> {
    return take(await this.call(signal, () => this.handle.raw.score(image_features, text_features)), this.call)
  }

  async zeroShotBundle(spec: ZeroShotSpec, text_features?: Float32Array): Promise<Bytes> {
    const run = () => this.handle.raw.zeroShotBundle(JSON.stringify(spec), text_features)
    return (await this.call(undefined, run)) as Bytes
  }

  async classifier(
    bundle: Uint8Array,
    options: CallOptions & { classnames?: string[] | undefined } = {},
  ): Promise<EngineClassifier> {
    throwIfCancelled(options.signal)
    const raw = await this.call(undefined, () => this.handle.raw.classifier(bundle, options.classnames))
    return new DoorClassifier(raw, this.call)
  }

  [Symbol.dispose](): void {
    this.handle.free(this.call)
  }
}

class DoorClassifier implements EngineClassifier {
  readonly metadata: BundleMetadata
  readonly #handle: Handle<RawClassifier>
  readonly #call: Call

  constructor(raw: RawClassifier, call: Call) {
    this.#handle = new Handle(raw)
    this.#call = call
    this.metadata = parseJson(
      BundleMetadata,
      call.sync(() => raw.metadata),
      'bundle metadata',
      'bad_bundle',
    )
  }

  get disposed(): boolean {
    return this.#handle.gone || this.#call.failed()
  }

  async classify(image: Uint8Array, { signal }: CallOptions = {}): Promise<Scores> {
    return take(await this.#call(signal, (cancel) => this.#handle.raw.classify(image, cancel)), this.#call)
  }

  async score(image_features: Float32Array, { signal }: CallOptions = {}): Promise<Scores> {
    return take(await this.#call(signal, (cancel) => this.#handle.raw.score(image_features, cancel)), this.#call)
  }

  async probe(): Promise<number> {
    return await this.#call(undefined, () => this.#handle.raw.probe())
  }

  [Symbol.dispose](): void {
    this.#handle.free(this.#call)
  }
}

/** Plain arrays of a door's scores, which in WASM are an object to be freed. */
function take(raw: RawScores, call: Call): Scores {
  return call.sync(() => {
    const { probs, cosines } = raw
    raw.free?.()
    return { probs, cosines }
  })
}

/** JSON of the addon's `bad`: the images that could not be read. */
export function parseBad(json: string): BadImage[] {
  return parseJson(BadImage.array(), json, 'bad images', 'internal')
}
