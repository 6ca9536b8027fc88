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
  ModelReport,
  OnnxFile,
  type OnnxSpec,
  parseJson,
  type Tower,
  TrainPlan,
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

export interface RawTrainer {
  readonly plan: string
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
  embedViews(images: Uint8Array[], spec: string, cancel?: RawCancel): Promise<{ features: Float32Array; bad: string }>
  trainer(spec: string, images: Uint8Array[], labels: Uint32Array, features?: Float32Array): Promise<RawTrainer>
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

/** Learns prompts epoch by epoch; its state can be saved after any epoch and continued from bit for bit. */
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
