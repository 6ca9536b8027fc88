/**
 * The Engine over ONNX Runtime: onnxruntime-web (WebGPU or WASM) and onnxruntime-node compute the towers; images, prompts and
 * scores stay in our WASM module. The runtime is handed in; this package does not depend on it. docs/onnx.md
 */
import type {
  Bytes,
  CallOptions,
  Embedded,
  Engine,
  EngineClassifier,
  EngineModel,
  ModelFiles,
  Scores,
  TextOptions,
} from './engine.ts'
import { CocoopError, messageOf, throwIfCancelled } from './errors.ts'
import { Pack } from './pack.ts'
import {
  BundleMetadata,
  type InspectedImage,
  type ModelInfo,
  OnnxHead,
  OnnxManifest,
  parseJson,
  type ZeroShotSpec,
} from './schemas.ts'
import { IMAGE_CODES, type WasmEngine } from './wasm.ts'
import type { WasmHost, WasmPrompts } from './wasm-host.ts'

/** What is used of onnxruntime-common's interface, which all its packages export. */
export interface Ort {
  InferenceSession: {
    create(uri: string, options?: object): Promise<OrtSession>
    create(bytes: Uint8Array, options?: object): Promise<OrtSession>
  }
  Tensor: {
    new (type: 'float32', data: Float32Array, dims: readonly number[]): OrtTensor
    new (type: 'int64', data: BigInt64Array, dims: readonly number[]): OrtTensor
  }
}
export interface OrtTensor {
  readonly data: unknown
  dispose(): void
}
export interface OrtSession {
  run(feeds: Record<string, OrtTensor>): Promise<Readonly<Record<string, OrtTensor>>>
  release(): Promise<void>
}

export interface OnnxEngineOptions {
  /** `onnxruntime-web`, `onnxruntime-web/webgpu`, `onnxruntime-node`: its module. */
  ort: Ort
  /** In order of preference, such as `['webgpu', 'wasm']`; the runtime's own choice where it is not given. */
  executionProviders?: readonly (string | object)[] | undefined
  /** More of the runtime's session options. */
  sessionOptions?: Readonly<Record<string, unknown>> | undefined
}

/** A graph: its bytes, where the runtime finds it (a URL; for onnxruntime-node a path), or a function that reads it. */
export type OnnxGraph = Uint8Array | string | (() => Promise<Uint8Array>)
/** The graphs' names, which are those of their files without `_model.onnx`. */
const GRAPHS = ['vision', 'text', 'prompt'] as const
export type GraphName = (typeof GRAPHS)[number]

/** What `cocoop-train export-onnx` writes: the text of `onnx.json` and the graphs. Those that are never used may be missing. */
export interface OnnxFiles extends Partial<Record<GraphName, OnnxGraph>> {
  manifest: string
}

/** The text of an `onnx.json`, and the graphs that it lists: `locate` is told whether one has its values in a second file. */
export function openExport(manifest: string, locate: (name: string, outside: boolean) => OnnxGraph): OnnxFiles {
  const { files } = parseJson(OnnxManifest, manifest, 'onnx.json', 'bad_model')
  const names = new Set(files.map(({ name }) => name))
  const found = GRAPHS.map((graph) => [graph, `${graph}_model.onnx`] as const).filter(([, name]) => names.has(name))
  const graphs = found.map(([graph, name]) => [graph, locate(name, names.has(`${name}_data`))])
  return { manifest, ...Object.fromEntries(graphs) }
}

/** Images and prompts that go through a graph at a time. */
const IMAGES_AT_ONCE = 8
const PROMPTS_AT_ONCE = 256

export class OnnxEngine implements Engine {
  readonly name = 'onnx'
  readonly #wasm: WasmEngine
  readonly #options: OnnxEngineOptions

  /** Takes over `wasm`, an engine of its own. */
  constructor(wasm: WasmEngine, options: OnnxEngineOptions) {
    this.#wasm = wasm
    this.#options = options
  }

  get failed(): boolean {
    return this.#wasm.failed
  }

  /**
   * Opens exported graphs, or a model's own files, whose graphs are then made in memory when they are first used.
   * @throws CocoopError `bad_model`, `cancelled` and the other words of bad files; `bad_option` for a pack
   */
  async loadModel(files: ModelFiles | OnnxFiles | Pack, options: CallOptions = {}): Promise<OnnxModel> {
    throwIfCancelled(options.signal)
    if (Pack.is(files)) {
      throw new CocoopError('bad_option', 'ONNX Runtime takes exported graphs or a model in safetensors, not a pack')
    }
    if ('manifest' in files) {
      const { model } = parseJson(OnnxManifest, files.manifest, 'onnx.json', 'bad_model')
      return new OnnxModel(this.#wasm, this.#options, model, (name) => {
        const graph = files[name]
        if (graph !== undefined) return graph
        throw new CocoopError('bad_model', `the model's ${name} graph is needed and was not given`)
      })
    }
    const { info, bytes } = this.#wasm.exportOnnx(files, 'vision')
    const model = new OnnxModel(this.#wasm, this.#options, info, (name) =>
      name === 'vision' ? bytes : this.#wasm.exportOnnx(files, name).bytes,
    )
    return model
  }

  bundleMetadata(bundle: Uint8Array): BundleMetadata {
    return this.#wasm.bundleMetadata(bundle)
  }
  tokenize(text: string): Uint32Array {
    return this.#wasm.tokenize(text)
  }
  errorCodes(): string[] {
    return this.#wasm.errorCodes()
  }
  version(): string {
    return this.#wasm.version()
  }
}

export class OnnxModel implements EngineModel {
  readonly info: ModelInfo
  readonly #wasm: WasmEngine
  readonly #options: OnnxEngineOptions
  readonly #graph: (name: GraphName) => OnnxGraph
  readonly #host: WasmHost
  readonly #sessions = new Map<GraphName, Promise<OrtSession>>()
  /** The runtime takes one call at a time. */
  #last: Promise<unknown> = Promise.resolve()
  #disposed = false

  constructor(wasm: WasmEngine, options: OnnxEngineOptions, info: ModelInfo, graph: (name: GraphName) => OnnxGraph) {
    this.#wasm = wasm
    this.#options = options
    this.info = info
    this.#graph = graph
    this.#host = wasm.host(info)
  }

  get disposed(): boolean {
    return this.#disposed || this.#wasm.failed
  }

  async embedImages(images: Uint8Array[], { signal }: CallOptions = {}): Promise<Embedded> {
    const { embed_dim, image_size } = this.info
    const features = new Float32Array(images.length * embed_dim)
    const bad: Embedded['bad'] = []
    for (let start = 0; start < images.length; start += IMAGES_AT_ONCE) {
      throwIfCancelled(signal)
      const pixels: Float32Array[] = []
      const rows: number[] = []
      for (const [i, image] of images.slice(start, start + IMAGES_AT_ONCE).entries()) {
        try {
          pixels.push(this.host.pixels(image))
          rows.push(start + i)
        } catch (error) {
          if (!CocoopError.is(error) || !IMAGE_CODES.has(error.code)) throw error
          bad.push({ index: start + i, code: error.code, message: error.message })
        }
      }
      if (rows.length === 0) continue
      const found = await this.#embedPixels(concat(pixels), [rows.length, 3, image_size, image_size])
      for (const [i, row] of rows.entries()) {
        features.set(found.subarray(i * embed_dim, (i + 1) * embed_dim), row * embed_dim)
      }
    }
    return { features, bad }
  }

  /** Features (1, embed_dim) of one image, whose error is thrown. */
  async embedImage(image: Uint8Array): Promise<Float32Array> {
    return await this.#embedPixels(this.host.pixels(image), [1, 3, this.info.image_size, this.info.image_size])
  }

  /** Features (1, embed_dim) of the probe image. */
  async embedProbe(): Promise<Float32Array> {
    return await this.#embedPixels(this.host.probePixels(), [1, 3, this.info.image_size, this.info.image_size])
  }

  async inspectImages(images: Uint8Array[]): Promise<InspectedImage[]> {
    return this.#wasm.inspectImages(images)
  }

  async embedTexts(
    texts: readonly string[],
    { truncate = false, ...options }: TextOptions & { truncate?: boolean | undefined } = {},
  ): Promise<Float32Array> {
    if (texts.length === 0) return new Float32Array()
    using prompts = this.host.texts([...texts], truncate)
    return this.host.features(await this.#embedIds(prompts, options))
  }

  async textFeatures(
    classnames: readonly string[],
    templates: readonly string[],
    options: TextOptions = {},
  ): Promise<Float32Array> {
    using prompts = this.host.templates([...classnames], [...templates])
    return this.host.classFeatures(await this.#embedIds(prompts, options), classnames.length)
  }

  async score(
    image_features: Float32Array,
    text_features: Float32Array,
    { signal }: CallOptions = {},
  ): Promise<Scores> {
    throwIfCancelled(signal)
    return this.host.score(image_features, text_features)
  }

  async zeroShotBundle(spec: ZeroShotSpec, text_features?: Float32Array): Promise<Bytes> {
    const features = text_features ?? (await this.textFeatures(spec.classnames, spec.templates))
    const { cosines } = this.host.score(await this.embedProbe(), features)
    return this.host.zeroShotBundle(spec, features, cosines)
  }

  async classifier(
    bundle: Uint8Array,
    { classnames, signal }: CallOptions & { classnames?: string[] | undefined } = {},
  ): Promise<EngineClassifier> {
    throwIfCancelled(signal)
    const { head, ...opened } = parseJson(OnnxHead, this.host.openBundle(bundle, classnames), 'bundle', 'bad_bundle')
    const metadata = parseJson(BundleMetadata, opened.metadata, 'bundle metadata', 'bad_bundle')
    if (head === 'own') return new OnnxClassifier(this, bundle, metadata, this.host.ownFeatures(bundle))
    if (head === 'templates') {
      const features = await this.textFeatures(metadata.classnames, metadata.prompt.templates, { signal })
      return new OnnxClassifier(this, bundle, metadata, features)
    }
    const prompts = this.host.learned(bundle, metadata.classnames)
    try {
      const wanted = prompts.wanted()
      if (wanted.length > 0) prompts.setTokens(await this.#tokenRows(wanted))
      if (head === 'conditional') {
        await this.#session('prompt') // every image will need it: now is the time to miss it
        return new OnnxClassifier(this, bundle, metadata, prompts)
      }
      const features = await this.embedPrompts(prompts, new Float32Array())
      prompts[Symbol.dispose]()
      return new OnnxClassifier(this, bundle, metadata, features)
    } catch (error) {
      prompts[Symbol.dispose]()
      throw error
    }
  }

  /** L2-normalised features (count, embed_dim) of learned prompts, for one image where they depend on it. */
  async embedPrompts(prompts: WasmPrompts, image_features: Float32Array): Promise<Float32Array> {
    const { count, length } = prompts
    const { width } = this.info.text
    const [embeds, ends] = [prompts.embeds(image_features), prompts.ends()]
    const found: Float32Array[] = []
    for (let start = 0; start < count; start += PROMPTS_AT_ONCE) {
      const end = Math.min(count, start + PROMPTS_AT_ONCE)
      const rows = embeds.subarray(start * length * width, end * length * width)
      const inputs = {
        inputs_embeds: this.#floats(rows, [end - start, length, width]),
        eot: this.#ints(ends.subarray(start, end), [end - start]),
      }
      found.push((await this.#run('prompt', inputs, ['text_embeds'])).text_embeds)
    }
    return this.host.features(concat(found))
  }

  /** What stands around the towers. */
  get host(): WasmHost {
    if (this.#disposed) throw new CocoopError('disposed', 'used after it was disposed')
    return this.#host
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#host[Symbol.dispose]()
    const sessions = [...this.#sessions.values()]
    this.#sessions.clear()
    // A session that could not be made has told so; one that runs is released behind its last call.
    for (const session of sessions) void this.#last.then(async () => (await session).release()).catch(() => {})
  }

  async #embedPixels(pixels: Float32Array, shape: number[]): Promise<Float32Array> {
    const { image_embeds } = await this.#run('vision', { pixel_values: this.#floats(pixels, shape) }, ['image_embeds'])
    return this.host.features(image_embeds)
  }

  /** What the text tower returns (count, embed_dim) for prompts of tokens, not normalised. */
  async #embedIds(prompts: WasmPrompts, { signal, onProgress }: TextOptions): Promise<Float32Array> {
    const { count, length } = prompts
    const ids = prompts.ids()
    const found: Float32Array[] = []
    for (let start = 0; start < count; start += PROMPTS_AT_ONCE) {
      throwIfCancelled(signal)
      const end = Math.min(count, start + PROMPTS_AT_ONCE)
      const input_ids = this.#ints(ids.subarray(start * length, end * length), [end - start, length])
      found.push((await this.#run('text', { input_ids }, ['text_embeds'])).text_embeds)
      onProgress?.(end, count)
    }
    return concat(found)
  }

  /** The embeddings (n, width) of tokens, as texts of one token each. */
  async #tokenRows(ids: Uint32Array): Promise<Float32Array> {
    const input_ids = this.#ints(BigInt64Array.from(ids, BigInt), [ids.length, 1])
    return (await this.#run('text', { input_ids }, ['token_embeds'])).token_embeds
  }

  #floats(data: Float32Array, dims: number[]): OrtTensor {
    return new this.#options.ort.Tensor('float32', data, dims)
  }

  #ints(data: BigInt64Array, dims: number[]): OrtTensor {
    return new this.#options.ort.Tensor('int64', data, dims)
  }

  /** One call of a graph, behind those before it. */
  #run<Name extends string>(
    graph: GraphName,
    feeds: Record<string, OrtTensor>,
    outputs: readonly Name[],
  ): Promise<Record<Name, Float32Array>> {
    const run = async () => {
      const session = await this.#session(graph)
      try {
        const results = await session.run(feeds)
        return Object.fromEntries(outputs.map((name) => [name, floatsOf(results[name], name)])) as Record<
          Name,
          Float32Array
        >
      } catch (cause) {
        throw CocoopError.is(cause)
          ? cause
          : new CocoopError('engine_failed', `ONNX Runtime, ${graph} graph: ${messageOf(cause)}`, { cause })
      }
    }
    const result = this.#last.then(run)
    this.#last = result.catch(() => {})
    return result
  }

  /** The graph's session, made when it is first used. A failure is not kept: the next call tries again. */
  #session(name: GraphName): Promise<OrtSession> {
    if (this.disposed) throw new CocoopError('disposed', 'used after it was disposed')
    const known = this.#sessions.get(name)
    if (known) return known
    const made = this.#create(name)
    this.#sessions.set(name, made)
    made.catch(() => this.#sessions.delete(name))
    return made
  }

  async #create(name: GraphName): Promise<OrtSession> {
    const { ort, executionProviders, sessionOptions } = this.#options
    const options = { ...sessionOptions, ...(executionProviders && { executionProviders }) }
    const found = this.#graph(name)
    const graph = typeof found === 'function' ? await found() : found
    try {
      // Two overloads, each of one type.
      return typeof graph === 'string'
        ? await ort.InferenceSession.create(graph, options)
        : await ort.InferenceSession.create(graph, options)
    } catch (cause) {
      throw new CocoopError('bad_model', `ONNX Runtime cannot load the ${name} graph: ${messageOf(cause)}`, { cause })
    }
  }
}

class OnnxClassifier implements EngineClassifier {
  readonly metadata: BundleMetadata
  readonly #model: OnnxModel
  readonly #bundle: Uint8Array
  /** Text features (n_cls, embed_dim), or the prompts that they are computed of for each image. */
  readonly #head: Float32Array | WasmPrompts
  #disposed = false

  constructor(model: OnnxModel, bundle: Uint8Array, metadata: BundleMetadata, head: Float32Array | WasmPrompts) {
    this.#model = model
    this.#bundle = bundle
    this.metadata = metadata
    this.#head = head
  }

  get disposed(): boolean {
    return this.#disposed || this.#model.disposed
  }

  async classify(image: Uint8Array, options: CallOptions = {}): Promise<Scores> {
    this.#use(options)
    return await this.score(await this.#model.embedImage(image), options)
  }

  async score(image_features: Float32Array, options: CallOptions = {}): Promise<Scores> {
    this.#use(options)
    const { host, info } = this.#model
    if (this.#head instanceof Float32Array) return host.score(image_features, this.#head)
    const scores: Scores[] = []
    for (let start = 0; start < image_features.length; start += info.embed_dim) {
      this.#use(options)
      const image = image_features.subarray(start, start + info.embed_dim)
      scores.push(host.score(image, await this.#model.embedPrompts(this.#head, image)))
    }
    return { probs: concat(scores.map(({ probs }) => probs)), cosines: concat(scores.map(({ cosines }) => cosines)) }
  }

  async probe(): Promise<number> {
    const { cosines } = await this.score(await this.#model.embedProbe())
    return this.#model.host.probe(this.#bundle, cosines)
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return
    this.#disposed = true
    if (!(this.#head instanceof Float32Array)) this.#head[Symbol.dispose]()
  }

  #use({ signal }: CallOptions): void {
    throwIfCancelled(signal)
    if (this.disposed) throw new CocoopError('disposed', 'used after it was disposed')
  }
}

/** The values of a graph's output, out of the runtime's own memory. */
function floatsOf(tensor: OrtTensor | undefined, name: string): Float32Array {
  if (!(tensor?.data instanceof Float32Array))
    throw new CocoopError('bad_model', `the graph has no float output ${name}`)
  return tensor.data.slice()
}

function concat(parts: Float32Array[]): Float32Array {
  const [only] = parts
  if (only && parts.length === 1) return only
  const all = new Float32Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
