/** The Engine over the native addon (cocoop-napi): off the event loop, on all cores, and the only one that trains. */
import { type Call, DoorEngine, DoorModel, parseBad, type RawCancel, type RawDoor, type RawModel } from './door.ts'
import type { Bytes, CallOptions, Embedded, LoadModelOptions, ModelFiles } from './engine.ts'
import { CocoopError, messageOf, throwIfCancelled } from './errors.ts'
import type { LinearProbeFit } from './linear-probe.ts'
import { each, type Pack } from './pack.ts'
import {
  type Bits,
  type BundleOptions,
  type ConversionTarget,
  ConvertedModel,
  EpochReport,
  type ImportSpec,
  ModelReport,
  NearToken,
  OnnxFile,
  type OnnxSpec,
  parseJson,
  type Tower,
  TrainPlan,
  TrainPosition,
  type TrainSpec,
  type ViewSpec,
} from './schemas.ts'

/** One batch is done. `epoch` and `batch` count from 1; `correct` of `images` were classified right before the step. */
export interface Progress {
  epoch: number
  batch: number
  loss: number
  lr: number
  correct: number
  images: number
}

/** What a rank's share of a batch adds to its step; `images` of them, of which `correct` were classified right before it. */
export interface Part {
  /** (parameters) of the sum of the images' losses, divided by the size of the whole batch. */
  gradient: Float32Array
  /** That sum, divided by the same, nats. */
  loss: number
  correct: number
  images: number
}

/** One step is done; `report` after an epoch's last. */
export interface Applied {
  progress: Progress
  report: EpochReport | null
}

export interface RawTrainer {
  readonly plan: string
  readonly position: string
  part(rank: number, world: number, cancel?: RawCancel): Promise<Part>
  apply(gradient: Float32Array, loss: number, correct: number): Promise<{ progress: Progress; report?: string }>
  epoch(onProgress: (event: Progress) => void, cancel?: RawCancel): Promise<string>
  state(): Uint8Array
  restore(state: Uint8Array): void
  bundle(metadata: string): Promise<Uint8Array>
}
export interface RawOnnxExport {
  readonly files: string
  part(file: number, part: number): Promise<Uint8Array>
}
/** So many bytes of a pack are written. */
export interface PackProgress {
  bytes: number
  total: number
}
export interface RawNativeModel extends RawModel {
  exportOnnx(spec: string, bundle?: Uint8Array): Promise<RawOnnxExport>
  writePack(
    folder: string,
    spec: string,
    onProgress: (event: PackProgress) => void,
    cancel?: RawCancel,
  ): Promise<string>
  embedImages(
    images: Uint8Array[],
    cancel?: RawCancel,
    normalized?: boolean,
  ): Promise<{ features: Float32Array; bad: string }>
  nearestTokens(vectors: Float32Array, k: number): Promise<string>
  promptVectors(bundle: Uint8Array, image_features?: Float32Array): Promise<PromptVectors>
  importCheckpoint(checkpoint: Uint8Array, spec: string): Promise<Uint8Array>
  exportCheckpoint(bundle: Uint8Array, epoch: number): Promise<Uint8Array>
  embedViews(images: Uint8Array[], spec: string, cancel?: RawCancel): Promise<{ features: Float32Array; bad: string }>
  trainer(spec: string, images: Uint8Array[], labels: Uint32Array, features?: Float32Array): Promise<RawTrainer>
}
/** The vectors of a prompt. */
export interface PromptVectors {
  /** (n_ctx, dim), or (n_cls, n_ctx, dim) where each class has its own (`csc`). */
  ctx: Float32Array
  n_ctx: number
  dim: number
  csc: boolean
  /** (n, dim): what the Meta-Net adds to every vector for each image; empty without one. */
  shift: Float32Array
}
/** The addon's exports. */
export interface Addon extends RawDoor {
  Cancel: new () => RawCancel
  Model: {
    load(weights: Uint8Array, config: string): Promise<RawNativeModel>
    loadPack(manifest: string, shards: (string | Uint8Array)[]): Promise<RawNativeModel>
    open(paths: string[], config: string): Promise<RawNativeModel>
  }
  inspectModel(paths: string[], config: string): Promise<string>
  convertModel(paths: string[], config: string, out: string, target: string, cancel?: RawCancel): Promise<string>
  fitLinearProbe(
    features: Float32Array,
    labels: Uint32Array,
    spec: string,
    start_weight?: Float32Array,
    start_bias?: Float32Array,
    cancel?: RawCancel,
  ): Promise<LinearProbeFit>
  linearProbeProbs(features: Float32Array, weight: Float32Array, bias: Float32Array): Promise<Float32Array>
  fewShot(spec: string): string
  shuffles(spec: string): string
  subsample(labels: Uint32Array, half: 'base' | 'new'): string
}

function fail(thrown: unknown, signal: AbortSignal | undefined): CocoopError {
  throwIfCancelled(signal)
  return (
    CocoopError.from(thrown) ?? new CocoopError('engine_failed', `the addon: ${messageOf(thrown)}`, { cause: thrown })
  )
}

/** An aborted signal cancels the addon's own token, which it looks at between batches. */
export function nativeCall(addon: Addon): Call {
  const call = async <T>(signal: AbortSignal | undefined, run: (cancel: RawCancel | undefined) => T | Promise<T>) => {
    throwIfCancelled(signal)
    const cancel = signal && new addon.Cancel()
    const stop = () => cancel?.cancel()
    signal?.addEventListener('abort', stop, { once: true })
    try {
      return await run(cancel)
    } catch (thrown) {
      throw fail(thrown, signal)
    } finally {
      signal?.removeEventListener('abort', stop)
    }
  }
  return Object.assign(call, { sync: nativeSync, failed: () => false })
}

/** Runs a synchronous function of the addon. */
export function nativeSync<T>(run: () => T): T {
  try {
    return run()
  } catch (thrown) {
    throw fail(thrown, undefined)
  }
}

/** A model's files and the text of its config, or "" for OpenAI's own. */
export interface ModelPaths {
  paths: string[]
  config: string
}

export class NativeEngine extends DoorEngine<Addon> {
  readonly name = 'napi'
  readonly failed = false
  constructor(addon: Addon) {
    super(addon, nativeCall(addon))
  }
  override async loadModel(model: ModelFiles | Pack, options?: LoadModelOptions): Promise<NativeModel> {
    return (await super.loadModel(model, options)) as NativeModel
  }
  protected async loadFiles({ weights, config }: ModelFiles): Promise<NativeModel> {
    return new NativeModel(await this.call(undefined, () => this.door.Model.load(weights, config)), this.call)
  }
  /** Shards that are files are mapped, others read; all of them are proven. */
  protected async loadPack(pack: Pack, { signal }: LoadModelOptions): Promise<NativeModel> {
    const shards = await each(pack.manifest.shards, async (shard) => {
      throwIfCancelled(signal)
      return (await pack.path(shard)) ?? (await pack.get(shard))
    })
    return new NativeModel(await this.call(undefined, () => this.door.Model.loadPack(pack.json, shards)), this.call)
  }

  /**
   * Opens a model from its files, which are mapped and must not change while it is in use: one safetensors or PyTorch file, or
   * shards and their index. Nothing but the header is read before it is needed.
   */
  async openModel({ paths, config }: ModelPaths, { signal }: CallOptions = {}): Promise<NativeModel> {
    throwIfCancelled(signal)
    return new NativeModel(await this.call(undefined, () => this.door.Model.open(paths, config)), this.call)
  }

  /** What a model's files hold; one that cannot be used is described as far as it can be, with its `problem`. */
  async inspectModel({ paths, config }: ModelPaths): Promise<ModelReport> {
    const json = await this.call(undefined, () => this.door.inspectModel(paths, config))
    return parseJson(ModelReport, json, 'model report', 'internal')
  }

  /** Writes a model under other names and in another type into the folder `out`: the paths of what was written. */
  async convertModel(
    { paths, config }: ModelPaths,
    out: string,
    target: ConversionTarget,
    { signal }: CallOptions = {},
  ): Promise<ConvertedModel> {
    const json = await this.call(signal, (cancel) =>
      this.door.convertModel(paths, config, out, JSON.stringify(target), cancel),
    )
    return parseJson(ConvertedModel, json, 'converted model', 'internal')
  }
}

export class NativeModel extends DoorModel<RawNativeModel> {
  /** With `normalized: false` the features are as they leave the tower, which is what the original's linear probe learns from. */
  async embedImages(
    images: Uint8Array[],
    { signal, normalized = true }: CallOptions & { normalized?: boolean | undefined } = {},
  ): Promise<Embedded> {
    const { features, bad } = await this.call(signal, (cancel) =>
      this.handle.raw.embedImages(images, cancel, normalized),
    )
    return { features, bad: parseBad(bad) }
  }

  /**
   * Lays out an ONNX graph; `classifier` needs a bundle whose text features do not depend on the image. Nothing is read yet.
   * @throws CocoopError `missing_tensor` where the tower is not there, `bad_bundle`, `model_mismatch`
   */
  async exportOnnx(spec: OnnxSpec, bundle?: Uint8Array): Promise<OnnxExport> {
    const raw = await this.call(undefined, () => this.handle.raw.exportOnnx(JSON.stringify(spec), bundle))
    return new OnnxExport(raw, this.call)
  }

  /**
   * For each of `vectors` (n, text width) the `k` nearest tokens of the model's own table, nearest first, by Euclidean distance
   * between embeddings; tokens that a sparse table does not hold are left out.
   */
  async nearestTokens(vectors: Float32Array, k: number, { signal }: CallOptions = {}): Promise<NearToken[][]> {
    const json = await this.call(signal, () => this.handle.raw.nearestTokens(vectors, k))
    return parseJson(NearToken.array().array(), json, 'nearest tokens', 'internal')
  }

  /**
   * What a bundle of this model learned, and how its Meta-Net shifts it for each of `image_features` (n, embed_dim), L2-normalised.
   * @throws CocoopError `bad_bundle` where nothing was learned, `model_mismatch`, `bad_shape`
   */
  async promptVectors(
    bundle: Uint8Array,
    image_features?: Float32Array,
    { signal }: CallOptions = {},
  ): Promise<PromptVectors> {
    return await this.call(signal, () => this.handle.raw.promptVectors(bundle, image_features))
  }

  /**
   * The bundle of a checkpoint of the original CoOp or CoCoOp (`prompt_learner/model.pth.tar-N`); nothing in the file is executed.
   * @throws CocoopError `bad_checkpoint` for another file, or one that was learned on another backbone; `bad_classes` for class names
   * that are not those it was learned with; `bad_shape`, `missing_tensor`, `not_finite`
   */
  async importCheckpoint(
    checkpoint: Uint8Array,
    { classnames, ctx_init, ...spec }: ImportSpec,
    { signal }: CallOptions = {},
  ): Promise<Bytes> {
    const json = JSON.stringify({ classnames: classnames ?? null, ctx_init: ctx_init ?? null, ...spec })
    return (await this.call(signal, () => this.handle.raw.importCheckpoint(checkpoint, json))) as Bytes
  }

  /** The checkpoint that the originals would have saved of a bundle after `epoch` epochs, without the optimiser's state. */
  async exportCheckpoint(bundle: Uint8Array, epoch: number, { signal }: CallOptions = {}): Promise<Bytes> {
    return (await this.call(signal, () => this.handle.raw.exportCheckpoint(bundle, epoch))) as Bytes
  }

  /**
   * Writes the model as a pack into `folder`, which is made; the manifest comes last: a folder without one is no pack.
   */
  async writePack(
    folder: string,
    spec: { id: string; bits: Bits; towers: Tower[] },
    onProgress: (event: PackProgress) => void,
    { signal }: CallOptions = {},
  ): Promise<void> {
    await this.call(signal, (cancel) => this.handle.raw.writePack(folder, JSON.stringify(spec), onProgress, cancel))
  }

  /**
   * Features (n, to - from, embed_dim) of views of training images, exactly those that a run draws in epochs `from` to
   * below `to`; the rows of images that cannot be read are 0, and `bad` names them by their place in `images`.
   */
  async embedViews(images: Uint8Array[], spec: ViewSpec, { signal }: CallOptions = {}): Promise<Embedded> {
    const { features, bad } = await this.call(signal, (cancel) =>
      this.handle.raw.embedViews(images, JSON.stringify(spec), cancel),
    )
    return { features, bad: parseBad(bad) }
  }

  /**
   * Prepares training on encoded images (n) and labels (n), each below the number of class names. With `features` of
   * {@link embedViews} no image is looked at, and there need be none: (n, views, embed_dim), where views is `spec.views`, or
   * the epochs where that is 0, or 1 without augmentation.
   */
  async trainer(
    spec: TrainSpec,
    images: Uint8Array[],
    labels: Uint32Array,
    { signal, features }: CallOptions & { features?: Float32Array | undefined } = {},
  ): Promise<Trainer> {
    throwIfCancelled(signal)
    const raw = await this.call(undefined, () =>
      this.handle.raw.trainer(JSON.stringify(spec), images, labels, features),
    )
    return new Trainer(raw, this.call)
  }
}

/** A graph to be written: read and converted tensor by tensor. */
export class OnnxExport {
  /** The graph's file, and where one protobuf (2 GiB) cannot hold it a second with its values. */
  readonly files: OnnxFile[]
  readonly #raw: RawOnnxExport
  readonly #call: Call

  constructor(raw: RawOnnxExport, call: Call) {
    this.#raw = raw
    this.#call = call
    this.files = parseJson(OnnxFile.array(), raw.files, 'ONNX files', 'internal')
  }

  /** The bytes of `files[file]`, in order. */
  async *parts(file: number, { signal }: CallOptions = {}): AsyncGenerator<Uint8Array> {
    const { parts = 0 } = this.files[file] ?? {}
    for (let part = 0; part < parts; part++) yield await this.#call(signal, () => this.#raw.part(file, part))
  }
}

/**
 * Learns prompts epoch by epoch; its state can be saved after any epoch and continued from bit for bit. Training throws
 * `diverged` where the loss, or what would be learned, is not finite or explodes: then the trainer stands at the last state
 * whose loss was good, and `position` says where that is.
 */
export class Trainer {
  readonly plan: TrainPlan
  readonly #raw: RawTrainer
  readonly #call: Call

  constructor(raw: RawTrainer, call: Call) {
    this.#raw = raw
    this.#call = call
    this.plan = parseJson(TrainPlan, raw.plan, 'training plan', 'internal')
  }

  /** Trains to the end of the current epoch. After `cancelled` the trainer stands where it stopped; restore a state to go on. */
  async epoch(onProgress: (event: Progress) => void, { signal }: CallOptions = {}): Promise<EpochReport> {
    const json = await this.#call(signal, (cancel) => this.#raw.epoch(onProgress, cancel))
    return parseJson(EpochReport, json, 'epoch report', 'internal')
  }

  /** Epochs that are done, and steps of the current one. */
  get position(): TrainPosition {
    const json = this.#call.sync(() => this.#raw.position)
    return parseJson(TrainPosition, json, 'training position', 'internal')
  }

  /**
   * What the share of `rank`, one of `world`, adds to the next step: consecutive images of the batch, none for ranks beyond its
   * size. Nothing that is learned changes. The ranks' parts, summed in their order, are what each of them gives to
   * {@link apply}; one part of one rank makes the step that {@link epoch} makes, bit for bit.
   */
  async part(rank: number, world: number, { signal }: CallOptions = {}): Promise<Part> {
    return await this.#call(signal, (cancel) => this.#raw.part(rank, world, cancel))
  }

  /** One step with the sum of all ranks' parts. */
  async apply({ gradient, loss, correct }: Omit<Part, 'images'>): Promise<Applied> {
    const { progress, report } = await this.#call(undefined, () => this.#raw.apply(gradient, loss, correct))
    return {
      progress,
      report: report === undefined ? null : parseJson(EpochReport, report, 'epoch report', 'internal'),
    }
  }

  /** A checkpoint: parameters, momentum and position. */
  state(): Bytes {
    return this.#call.sync(() => this.#raw.state()) as Bytes
  }

  /** Continues from a checkpoint of the same training. Throws `bad_checkpoint` for any other bytes. */
  restore(state: Uint8Array): void {
    this.#call.sync(() => this.#raw.restore(state))
  }

  /** The learned prompt as a bundle. */
  async bundle(options: BundleOptions): Promise<Bytes> {
    return (await this.#call(undefined, () => this.#raw.bundle(JSON.stringify(options)))) as Bytes
  }
}
