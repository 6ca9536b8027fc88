/**
 * What stands behind the routes in one isolate or process: the store, the engine, the model and a few opened bundles.
 * Everything is loaded when it is first asked for. A trap of the engine costs the request that met it: the next starts a new one.
 */
import {
  type Alias,
  type BundleMetadata,
  type BundleRef,
  type Classification,
  Classifier,
  CocoopError,
  deleteAlias,
  type Engine,
  type EngineModel,
  listModels,
  listVersions,
  openModel,
  publishBundle,
  readAlias,
  readBundle,
  type Store,
  setAlias,
} from 'cocoop'
import { Gate, SharedLru } from './cache.ts'

export interface RuntimeOptions {
  store: Store
  createEngine: () => Promise<Engine>
  /** Opened bundles that are kept; each open-vocabulary list counts as one. */
  maxClassifiers?: number
  /** How long this isolate answers from an alias that it has read. KV adds its own delay. */
  aliasSeconds?: number
  /** Images that may wait for the one in work. */
  maxWaiting?: number
  /** What a model may take, its text tower included where a bundle needs it: {@link Engine.loadModel}. */
  maxMemoryBytes?: number | undefined
}

export interface ClassifyOptions {
  topK: number
  classnames: string[] | undefined
  signal: AbortSignal
}

export interface Classified extends Classification {
  model: { id: string; sha256: string }
  timings: { open_ms: number; classify_ms: number }
}

/** `name`: where it points now, and everything that is stored under it. */
export interface BundleDetails {
  name: string
  sha256: string
  alias: Alias | null
  versions: string[]
  metadata: BundleMetadata
}

export class Runtime {
  readonly store: Store
  readonly #createEngine: () => Promise<Engine>
  readonly #aliasMs: number
  readonly #aliases = new Map<string, { sha256: string; until: number }>()
  readonly #models = new SharedLru<EngineModel>(1)
  readonly #classifiers: SharedLru<Classifier>
  readonly #gate: Gate
  readonly #maxMemoryBytes: number | undefined
  #engine: Promise<Engine> | undefined

  constructor(options: RuntimeOptions) {
    const { store, createEngine, maxClassifiers = 4, aliasSeconds = 5, maxWaiting = 16, maxMemoryBytes } = options
    this.store = store
    this.#maxMemoryBytes = maxMemoryBytes
    this.#createEngine = createEngine
    this.#aliasMs = aliasSeconds * 1000
    this.#classifiers = new SharedLru(maxClassifiers)
    this.#gate = new Gate(maxWaiting)
  }

  async classify(
    ref: BundleRef,
    image: Uint8Array,
    { topK, classnames, signal }: ClassifyOptions,
  ): Promise<Classified> {
    return await this.#guard(async () => {
      const start = performance.now()
      const { name, sha256 } = await this.#resolve(ref)
      const classifier = await this.#classifier(name, sha256, classnames)
      const opened = performance.now()
      const { bundle, predictions } = await this.#gate.run(() => classifier.classify(image, { topK, signal }))
      const { id, sha256: modelSha256 } = classifier.metadata.model
      const timings = { open_ms: opened - start, classify_ms: performance.now() - opened }
      return { bundle: { ...bundle, name }, model: { id, sha256: modelSha256 }, predictions, timings }
    })
  }

  async details(ref: BundleRef): Promise<BundleDetails> {
    return await this.#guard(async () => {
      const { name, sha256, bytes } = await readBundle(this.store, ref)
      const metadata = (await this.engine()).bundleMetadata(bytes)
      const alias = await readAlias(this.store, name).catch((error) => {
        if (CocoopError.is(error) && error.code === 'bundle_not_found') return null
        throw error
      })
      return { name, sha256, alias, versions: await listVersions(this.store, name), metadata }
    })
  }

  /** Publishes under `name`: written, read back, its probe run through this engine, and only then pointed to. */
  async publish(name: string, bundle: Uint8Array): Promise<Alias & { name: string }> {
    return await this.#guard(async () => {
      const engine = await this.engine()
      const model = await this.#model(engine.bundleMetadata(bundle).model.sha256)
      const published = await publishBundle(this.store, bundle, { engine, model, name })
      this.#aliases.delete(name)
      return published
    })
  }

  async setAlias(name: string, sha256: string): Promise<Alias & { name: string }> {
    const alias = await this.#guard(async () => setAlias(this.store, { name, sha256 }, { engine: await this.engine() }))
    this.#aliases.delete(name)
    return alias
  }

  async deleteAlias(name: string): Promise<void> {
    await deleteAlias(this.store, name)
    this.#aliases.delete(name)
  }

  /** Resolves when the store answers and a model of it is loaded. Throws `model_not_found` when it holds none. */
  async ready(): Promise<void> {
    const [first] = await listModels(this.store)
    if (!first) throw new CocoopError('model_not_found', 'the store holds no model: publish one first')
    if (!this.#models.resident) await this.#guard(() => this.#model(first))
  }

  /** The engine in use; a new one after a trap. */
  async engine(): Promise<Engine> {
    if (this.#engine && (await this.#engine).failed) this.#drop()
    this.#engine ??= this.#createEngine()
    try {
      return await this.#engine
    } catch (error) {
      this.#engine = undefined
      throw error
    }
  }

  /** Where a name points to, from this isolate's memory for `aliasSeconds`. */
  async #resolve({ name, sha256 }: BundleRef): Promise<{ name: string; sha256: string }> {
    if (sha256) return { name, sha256 }
    const known = this.#aliases.get(name)
    if (known && known.until > Date.now()) return { name, sha256: known.sha256 }
    const alias = await readAlias(this.store, name)
    this.#aliases.set(name, { sha256: alias.sha256, until: Date.now() + this.#aliasMs })
    return { name, sha256: alias.sha256 }
  }

  async #classifier(name: string, sha256: string, classnames: string[] | undefined): Promise<Classifier> {
    const key = JSON.stringify([sha256, classnames])
    return await this.#classifiers.get(key, async () => {
      const { bytes } = await readBundle(this.store, { name, sha256 })
      const { model } = (await this.engine()).bundleMetadata(bytes)
      return await Classifier.load(await this.#model(model.sha256), bytes, { classnames })
    })
  }

  async #model(sha256: string): Promise<EngineModel> {
    return await this.#models.get(sha256, async () => {
      this.#classifiers.clear() // they belong to the model that just left
      const pack = await openModel(this.store, sha256)
      return await (await this.engine()).loadModel(pack, { maxMemoryBytes: this.#maxMemoryBytes })
    })
  }

  /** Runs again what met something that another request disposed of meanwhile; drops an engine that trapped. */
  async #guard<T>(work: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await work()
      } catch (error) {
        if (this.#engine && (await this.#engine).failed) this.#drop()
        if (!CocoopError.is(error) || error.code !== 'disposed' || attempt === 3) throw error
      }
    }
  }

  #drop(): void {
    this.#engine = undefined
    this.#classifiers.clear()
    this.#models.clear()
  }
}
