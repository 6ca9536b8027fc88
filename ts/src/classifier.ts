/** The Classifier: a model and a bundle opened together, image in, classes out, best first. The entries add their default engine. */
import type { CallOptions, Engine, EngineClassifier, EngineModel, ModelFiles, Scores } from './engine.ts'
import { CocoopError, throwIfCancelled } from './errors.ts'
import { sha256 } from './hash.ts'
import { Pack } from './pack.ts'
import type { BundleMetadata, Method } from './schemas.ts'

/** `index` is the class's place in the bundle's class names, `cosine` that of image and text before the scale. */
export interface Prediction {
  classname: string
  index: number
  prob: number
  cosine: number
}

export interface Classification {
  /** Best first, at most `topK`. */
  predictions: Prediction[]
  bundle: { name: string; sha256: string; method: Method }
}

export interface LoadOptions extends CallOptions {
  /** Other classes than the bundle's own: the learned prompt over an open vocabulary. */
  classnames?: string[] | undefined
  /** What the model may take where it is loaded here from a pack: more is refused with `out_of_memory_budget`. */
  maxMemoryBytes?: number | undefined
  /** Which door to use; each entry of the package has its default. Not used when `model` is loaded already. */
  engine?: Engine | undefined
}

export class Classifier {
  readonly metadata: BundleMetadata
  readonly #bundle: Classification['bundle']
  readonly #classifier: EngineClassifier
  readonly #ownModel: EngineModel | undefined

  /** Takes over `classifier`, and `ownModel` where it is given: dispose frees them. */
  protected constructor(classifier: EngineClassifier, bundleSha256: string, ownModel: EngineModel | undefined) {
    this.metadata = classifier.metadata
    this.#bundle = { name: this.metadata.name, sha256: bundleSha256, method: this.metadata.method }
    this.#classifier = classifier
    this.#ownModel = ownModel
  }

  /**
   * Opens `bundle` on `model`: a loaded model, which stays yours, or its pack or files, which are loaded and freed with the
   * classifier. Of a pack, the text tower is loaded only where the bundle or the class names need it.
   * @throws CocoopError `bad_bundle`, `model_mismatch`, `bad_model`, `bad_pack`, `out_of_memory_budget`, `bad_classes`,
   * `cancelled` and the other words of bad files
   */
  static async load(
    model: EngineModel | ModelFiles | Pack,
    bundle: Uint8Array,
    options: LoadOptions = {},
  ): Promise<Classifier> {
    const { classnames, engine, signal, maxMemoryBytes } = options
    throwIfCancelled(signal)
    let own: EngineModel | undefined
    if (isStored(model)) {
      const to = requireEngine(engine)
      own = await to.loadModel(model, {
        signal,
        maxMemoryBytes,
        towers: towersFor(to.bundleMetadata(bundle), classnames),
      })
    }
    const loaded = own ?? (model as EngineModel)
    try {
      return new Classifier(await loaded.classifier(bundle, { classnames, signal }), await sha256(bundle), own)
    } catch (error) {
      own?.[Symbol.dispose]()
      throw error
    }
  }

  /** One encoded image file (PNG, JPEG, WebP, first frame of a GIF) to its `topK` best classes. */
  async classify(image: Uint8Array, options: CallOptions & { topK?: number } = {}): Promise<Classification> {
    const { topK = 5, signal } = options
    const scores = await this.#classifier.classify(image, { signal })
    return { predictions: rank(scores, this.metadata.classnames, topK), bundle: this.#bundle }
  }

  /** True after dispose, and once the engine has failed. */
  get disposed(): boolean {
    return this.#classifier.disposed
  }

  dispose(): void {
    this.#classifier[Symbol.dispose]()
    this.#ownModel?.[Symbol.dispose]()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose()
  }
}

/** The `topK` best classes of one image, best first; equal probabilities in the order of the classes. */
export function rank({ probs, cosines }: Scores, classnames: string[], topK: number): Prediction[] {
  const order = classnames.map((_, index) => index)
  order.sort((a, b) => at(probs, b) - at(probs, a) || a - b)
  return order.slice(0, topK).map((index) => ({
    classname: classnames[index] as string,
    index,
    prob: at(probs, index),
    cosine: at(cosines, index),
  }))
}

function at(values: Float32Array, index: number): number {
  const value = values[index]
  if (value === undefined) throw new CocoopError('internal', `no score for class ${index}`)
  return value
}

function isStored(model: EngineModel | ModelFiles | Pack): model is ModelFiles | Pack {
  return Pack.is(model) || 'weights' in model
}

/** What a bundle needs: its text features are fixed where no image shifts the prompt and the classes are its own. */
function towersFor({ method }: BundleMetadata, classnames: string[] | undefined): ('vision' | 'text')[] {
  return method === 'cocoop' || classnames ? ['vision', 'text'] : ['vision']
}

function requireEngine(engine: Engine | undefined): Engine {
  if (!engine) throw new CocoopError('bad_option', 'option `engine`: needed to load a model from its files here')
  return engine
}

/** The Classifier of one entry: its `load` makes an engine by `createEngine` where none is given and files are to be loaded. */
export function classifierOn(createEngine: () => Promise<Engine>): typeof Classifier {
  return class extends Classifier {
    static override async load(
      model: EngineModel | ModelFiles | Pack,
      bundle: Uint8Array,
      options: LoadOptions = {},
    ): Promise<Classifier> {
      throwIfCancelled(options.signal)
      const engine = options.engine ?? (isStored(model) ? await createEngine() : undefined)
      return await Classifier.load(model, bundle, { ...options, engine })
    }
  }
}
