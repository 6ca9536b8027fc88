/**
 * What either door looks like from here: the same calls over the native addon and over WASM, always asynchronous.
 * Every call throws CocoopError with the word of Rust's `Error::code`; an aborted `signal` gives `cancelled`.
 */
import type { Pack } from './pack.ts'
import type { BadImage, BundleMetadata, InspectedImage, ModelInfo, ZeroShotSpec } from './schemas.ts'

/** Bytes in an ordinary buffer, as WebCrypto and the stores take them. */
export type Bytes = Uint8Array<ArrayBuffer>

export interface CallOptions {
  /** Stops the call; the addon stops within one batch, WASM before it begins. */
  signal?: AbortSignal | undefined
}

/** For a call over many texts. */
export interface TextOptions extends CallOptions {
  /** Called after every batch with the number of prompts that are done, and of all. */
  onProgress?: ((done: number, total: number) => void) | undefined
}

/** A model's weights (safetensors) and the text of its config.json. */
export interface ModelFiles {
  weights: Uint8Array
  config: string
}

export interface LoadModelOptions extends CallOptions {
  /**
   * What all of a pack's model may take: its towers, and what is needed to work. More is refused with `out_of_memory_budget`
   * before anything is loaded. Default: no limit.
   */
  maxMemoryBytes?: number | undefined
  /** The towers of a pack that are loaded at once, others when they are first needed; default: vision. */
  towers?: readonly ('vision' | 'text')[] | undefined
}

export interface Engine {
  /** Which door and build: `napi`, `wasm-simd`, `wasm-relaxed`. */
  readonly name: string
  /** True once it has stopped for good (a trap in WASM): its objects are disposed, make a new engine. */
  readonly failed: boolean
  loadModel(model: ModelFiles | Pack, options?: LoadModelOptions): Promise<EngineModel>
  /** Reads a bundle's metadata with the strict reader; no model is needed. */
  bundleMetadata(bundle: Uint8Array): BundleMetadata
  /** Token ids of a text, without start and end. */
  tokenize(text: string): Uint32Array
  /** Every word of Rust's `Error::code`. */
  errorCodes(): string[]
  version(): string
}

/** `features` (n, embed_dim), L2-normalised; the rows of bad images are 0. */
export interface Embedded {
  features: Float32Array
  bad: BadImage[]
}

/** (n, n_cls) each. */
export interface Scores {
  probs: Float32Array
  cosines: Float32Array
}

export interface EngineModel extends Disposable {
  /** True after dispose, and once its engine has failed: every call throws `disposed`. */
  readonly disposed: boolean
  readonly info: ModelInfo
  /** Features of encoded image files. A file that cannot be read is named in `bad`; it does not stop the others. */
  embedImages(images: Uint8Array[], options?: CallOptions): Promise<Embedded>
  inspectImages(images: Uint8Array[]): Promise<InspectedImage[]>
  /**
   * Features (n, embed_dim) of texts as they stand, L2-normalised. A text that is longer than the model's context throws
   * `text_too_long`, or with `truncate` loses its end, as in CLIP's own `tokenize(truncate=True)`.
   */
  embedTexts(
    texts: readonly string[],
    options?: TextOptions & { truncate?: boolean | undefined },
  ): Promise<Float32Array>
  /** Features (n_cls, embed_dim) of class names in templates with `{}`, L2-normalised; `_` in a name is a space. Several templates are an ensemble. */
  textFeatures(
    classnames: readonly string[],
    templates: readonly string[],
    options?: TextOptions,
  ): Promise<Float32Array>
  /** Every image (n, embed_dim) against every text (n_cls, embed_dim), both L2-normalised: cosines, and their softmax at the model's scale. */
  score(image_features: Float32Array, text_features: Float32Array, options?: CallOptions): Promise<Scores>
  /** A bundle of templates. `text_features` are {@link textFeatures} of the same names and templates, where they are known already. */
  zeroShotBundle(spec: ZeroShotSpec, text_features?: Float32Array): Promise<Bytes>
  /** Opens a bundle; with `classnames`, its prompt over other classes (open vocabulary). */
  classifier(
    bundle: Uint8Array,
    options?: CallOptions & { classnames?: string[] | undefined },
  ): Promise<EngineClassifier>
}

export interface EngineClassifier extends Disposable {
  /** As of {@link EngineModel.disposed}. */
  readonly disposed: boolean
  readonly metadata: BundleMetadata
  /** One encoded image file. */
  classify(image: Uint8Array, options?: CallOptions): Promise<Scores>
  /** `image_features` (n, embed_dim), L2-normalised. */
  score(image_features: Float32Array, options?: CallOptions): Promise<Scores>
  /** Classifies the probe image: largest difference of its logits from those in the bundle, over the largest of them. */
  probe(): Promise<number>
}
