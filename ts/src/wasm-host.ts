/** What our WASM module does for towers that another runtime computes (`Host` of the core): typed, and every failure a CocoopError. */
import type { Call, RawScores } from './door.ts'
import type { Bytes, ModelFiles, Scores } from './engine.ts'
import { CocoopError } from './errors.ts'
import { ModelInfo, OnnxFile, type OnnxSpec, parseJson, type ZeroShotSpec } from './schemas.ts'

interface RawPrompts {
  readonly count: number
  readonly length: number
  ends(): BigInt64Array
  ids(): BigInt64Array
  wanted(): Uint32Array
  setTokens(rows: Float32Array): void
  embeds(image_features: Float32Array): Float32Array
  free(): void
}
interface RawHost {
  pixels(image: Uint8Array): Float32Array
  probePixels(): Float32Array
  features(embeds: Float32Array): Float32Array
  classFeatures(embeds: Float32Array, n_cls: number): Float32Array
  score(image_features: Float32Array, text_features: Float32Array): RawScores
  openBundle(bundle: Uint8Array, classnames?: string[]): string
  ownFeatures(bundle: Uint8Array): Float32Array
  learned(bundle: Uint8Array, classnames: string[]): RawPrompts
  templates(classnames: string[], templates: string[]): RawPrompts
  texts(texts: string[], truncate: boolean): RawPrompts
  probe(bundle: Uint8Array, cosines: Float32Array): number
  zeroShotBundle(spec: string, text_features: Float32Array, cosines: Float32Array): Uint8Array
  free(): void
}
interface RawExport {
  readonly info: string
  readonly files: string
  part(file: number, part: number): Uint8Array
  free(): void
}
/** What the WASM module exports besides the door. */
export interface RawHostDoor {
  Host: new (info: string) => RawHost
  OnnxExport: new (weights: Uint8Array, config: string, spec: string, bundle?: Uint8Array) => RawExport
  inspectImages(images: Uint8Array[]): string
}

/** The functions of the core's `Host`, whose docs say shapes; features are (n, embed_dim). */
export class WasmHost {
  readonly #raw: RawHost
  readonly #call: Call

  /** Takes over `raw`. */
  constructor(raw: RawHost, call: Call) {
    this.#raw = raw
    this.#call = call
  }

  #do<T>(run: (raw: RawHost) => T): T {
    return this.#call.sync(() => run(this.#raw))
  }

  pixels(image: Uint8Array): Float32Array {
    return this.#do((raw) => raw.pixels(image))
  }
  probePixels(): Float32Array {
    return this.#do((raw) => raw.probePixels())
  }
  features(embeds: Float32Array): Float32Array {
    return this.#do((raw) => raw.features(embeds))
  }
  classFeatures(embeds: Float32Array, n_cls: number): Float32Array {
    return this.#do((raw) => raw.classFeatures(embeds, n_cls))
  }
  openBundle(bundle: Uint8Array, classnames?: string[]): string {
    return this.#do((raw) => raw.openBundle(bundle, classnames))
  }
  ownFeatures(bundle: Uint8Array): Float32Array {
    return this.#do((raw) => raw.ownFeatures(bundle))
  }
  probe(bundle: Uint8Array, cosines: Float32Array): number {
    return this.#do((raw) => raw.probe(bundle, cosines))
  }
  learned(bundle: Uint8Array, classnames: string[]): WasmPrompts {
    return this.#prompts((raw) => raw.learned(bundle, classnames))
  }
  templates(classnames: string[], templates: string[]): WasmPrompts {
    return this.#prompts((raw) => raw.templates(classnames, templates))
  }
  texts(texts: string[], truncate: boolean): WasmPrompts {
    return this.#prompts((raw) => raw.texts(texts, truncate))
  }

  #prompts(run: (raw: RawHost) => RawPrompts): WasmPrompts {
    return new WasmPrompts(this.#do(run), this.#call)
  }

  score(image_features: Float32Array, text_features: Float32Array): Scores {
    return this.#do((raw) => {
      const scores = raw.score(image_features, text_features)
      const { probs, cosines } = scores
      scores.free?.()
      return { probs, cosines }
    })
  }

  zeroShotBundle(spec: ZeroShotSpec, text_features: Float32Array, cosines: Float32Array): Bytes {
    return this.#do((raw) => raw.zeroShotBundle(JSON.stringify(spec), text_features, cosines)) as Bytes
  }

  [Symbol.dispose](): void {
    free(this.#raw, this.#call)
  }
}

/** Prompts of equal length as the text graphs take them. */
export class WasmPrompts {
  readonly count: number
  readonly length: number
  readonly #raw: RawPrompts
  readonly #call: Call

  /** Takes over `raw`. */
  constructor(raw: RawPrompts, call: Call) {
    this.#raw = raw
    this.#call = call
    const { count, length } = call.sync(() => ({ count: raw.count, length: raw.length }))
    this.count = count
    this.length = length
  }

  /** (count) where each ends. */
  ends(): BigInt64Array {
    return this.#call.sync(() => this.#raw.ends())
  }
  /** (count, length) token ids, filled up behind the ends. */
  ids(): BigInt64Array {
    return this.#call.sync(() => this.#raw.ids())
  }
  /** The tokens whose embeddings are to be set before `embeds`. */
  wanted(): Uint32Array {
    return this.#call.sync(() => this.#raw.wanted())
  }
  setTokens(rows: Float32Array): void {
    this.#call.sync(() => this.#raw.setTokens(rows))
  }
  /** (count, length, width) for one image's features, which count only where the prompts depend on it. */
  embeds(image_features: Float32Array): Float32Array {
    return this.#call.sync(() => this.#raw.embeds(image_features))
  }

  [Symbol.dispose](): void {
    free(this.#raw, this.#call)
  }
}

/** One graph of a model, made in memory; `info` is the model's. */
export function exportGraph(
  door: RawHostDoor,
  call: Call,
  { weights, config }: ModelFiles,
  spec: OnnxSpec,
): { info: ModelInfo; bytes: Uint8Array } {
  const raw = call.sync(() => new door.OnnxExport(weights, config, JSON.stringify(spec)))
  try {
    const [file, more] = parseJson(OnnxFile.array(), raw.files, 'ONNX files', 'internal')
    if (file === undefined || more !== undefined) {
      throw new CocoopError(
        'too_large',
        'a graph beyond 2 GiB cannot be made in memory; use `cocoop-train export-onnx`',
      )
    }
    const bytes = new Uint8Array(file.bytes)
    for (let part = 0, at = 0; part < file.parts; part++) {
      const some = call.sync(() => raw.part(0, part))
      bytes.set(some, at)
      at += some.length
    }
    return { info: parseJson(ModelInfo, raw.info, 'model info', 'internal'), bytes }
  } finally {
    free(raw, call)
  }
}

/** Frees an object of an instance, unless the instance stopped and is dropped whole. */
function free(raw: { free(): void }, call: Call): void {
  if (!call.failed()) call.sync(() => raw.free())
}
