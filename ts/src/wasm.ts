/**
 * The Engine over WASM (cocoop-wasm). Work runs synchronously on the calling thread inside the returned promise.
 * A trap leaves an instance's memory in no known state, so the first one ends it: that call throws `engine_failed`,
 * every later one `disposed`, `failed` is true, and the owner makes a new engine.
 */
import { instantiate, type WasmInstance } from 'cocoop-wasm'
import { type Call, DoorEngine, DoorModel, type RawCancel, type RawDoor, type RawModel } from './door.ts'
import type { CallOptions, Embedded, LoadModelOptions, ModelFiles } from './engine.ts'
import { CocoopError, type ErrorCode, messageOf, throwIfCancelled } from './errors.ts'
import type { Pack } from './pack.ts'
import { Pager, type RawPacked } from './pager.ts'
import { InspectedImage, type ModelInfo, type OnnxSpec, parseJson } from './schemas.ts'
import { exportGraph, type RawHostDoor, WasmHost } from './wasm-host.ts'

interface RawWasmModel extends RawModel, RawPacked {
  embedImage(image: Uint8Array): Float32Array
}
interface RawWasmDoor extends RawDoor, RawHostDoor {
  Model: { new (weights: Uint8Array, config: string): RawWasmModel; fromPack(manifest: string): RawWasmModel }
  memory: WebAssembly.Memory
}

/** The smallest module with a relaxed-SIMD instruction: it validates where the relaxed build does. */
// biome-ignore format: the bytes of (module (func (result v128) (i8x16.relaxed_swizzle (i8x16.splat (i32.const 1)) (i8x16.splat (i32.const 2)))))
const relaxedProbe = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11,
])

/** Which of the two builds this host can run. */
export function wasmBuild(): 'relaxed' | 'simd' {
  return WebAssembly.validate(relaxedProbe) ? 'relaxed' : 'simd'
}

export class WasmEngine extends DoorEngine<RawWasmDoor> {
  readonly name: string
  readonly #state: { failed: boolean }

  /** A fresh instance of a compiled cocoop-wasm module; `build` is for the name only. */
  constructor(module: WebAssembly.Module, build: 'relaxed' | 'simd') {
    const state = { failed: false }
    const door: RawWasmDoor = instantiate(module) satisfies WasmInstance
    super(door, caller(state))
    this.#state = state
    this.name = `wasm-${build}`
  }

  /** True after a trap: make a new engine. */
  get failed(): boolean {
    return this.#state.failed
  }

  /** The instance's linear memory, which only grows. */
  get memory(): WebAssembly.Memory {
    return this.door.memory
  }

  protected async loadFiles({ weights, config }: ModelFiles, { signal }: CallOptions): Promise<WasmModel> {
    return new WasmModel(await this.call(signal, () => new this.door.Model(weights, config)), this.call)
  }

  /** What stands around the towers of a model that runs elsewhere. */
  host(info: ModelInfo): WasmHost {
    return new WasmHost(
      this.call.sync(() => new this.door.Host(JSON.stringify(info))),
      this.call,
    )
  }

  /** What a model of `side` pixels sees of an encoded image file, the middle square: (side, side, 3) bytes. No model is needed. */
  view(image: Uint8Array, side: number): Uint8Array {
    using host = this.host({ ...ANY_MODEL, image_size: side })
    const planes = host.pixels(image)
    const bytes = new Uint8Array(planes.length)
    const n = side * side
    for (let i = 0; i < bytes.length; i++) bytes[i] = Math.round(255 * (planes[(i % 3) * n + Math.floor(i / 3)] ?? 0))
    return bytes
  }

  /** One ONNX graph of a model in f32, and what the model says of itself; nothing of it stays in WASM's memory. */
  exportOnnx(files: ModelFiles, graph: OnnxSpec['graph']): { info: ModelInfo; bytes: Uint8Array } {
    return exportGraph(this.door, this.call, files, { graph, dtype: 'f32' })
  }

  /** As of a model: no model is needed. */
  inspectImages(images: Uint8Array[]): InspectedImage[] {
    const json = this.call.sync(() => this.door.inspectImages(images))
    return parseJson(InspectedImage.array(), json, 'inspected images', 'internal')
  }

  protected async loadPack(pack: Pack, { signal, towers = ['vision'], maxMemoryBytes }: LoadModelOptions) {
    const raw = this.call.sync(() => this.door.Model.fromPack(pack.json))
    const pager = new Pager(raw, pack, this.door.memory, this.call, (wanted) =>
      this.checkBudget(pack, wanted, maxMemoryBytes),
    )
    try {
      for (const tower of towers) await pager.tower(tower, signal)
    } catch (error) {
      this.call.sync(() => raw.free?.())
      throw error
    }
    return new WasmModel(raw, pager.call)
  }
}

/** Of a model whose pixels alone are asked for, as shares of 255. */
const ANY_MODEL: Omit<ModelInfo, 'image_size'> = {
  sha256: '0'.repeat(64),
  embed_dim: 1,
  context_length: 1,
  logit_scale: null,
  parameters: 0,
  vision: { kind: 'vit', layers: 0, width: 0, heads: 0, patch_size: 0, activation: 'gelu' },
  text: { layers: 0, width: 0, heads: 0, activation: 'gelu', vocab_size: 0, tokens_known: 0 },
  normalization: { mean: [0, 0, 0], std: [1, 1, 1] },
}

/** The words that speak of one image and do not stop the others. */
export const IMAGE_CODES: ReadonlySet<ErrorCode> = new Set(['bad_image', 'image_too_large', 'unsupported_image'])

class WasmModel extends DoorModel<RawWasmModel> {
  async embedImages(images: Uint8Array[], { signal }: CallOptions = {}): Promise<Embedded> {
    const { embed_dim } = this.info
    const features = new Float32Array(images.length * embed_dim)
    const bad: Embedded['bad'] = []
    for (const [index, image] of images.entries()) {
      try {
        features.set(await this.call(signal, () => this.handle.raw.embedImage(image)), index * embed_dim)
      } catch (error) {
        if (!CocoopError.is(error) || !IMAGE_CODES.has(error.code)) throw error
        bad.push({ index, code: error.code, message: error.message })
      }
    }
    return { features, bad }
  }
}

function caller(state: { failed: boolean }): Call {
  const sync = <T>(run: () => T): T => {
    if (state.failed) throw new CocoopError('disposed', 'this WASM instance stopped in an earlier call')
    try {
      return run()
    } catch (thrown) {
      const known = CocoopError.from(thrown)
      if (known) throw known
      state.failed = true // a trap, a stack overflow: anything that is not one of the core's own words
      throw new CocoopError('engine_failed', `the WASM engine stopped: ${messageOf(thrown)}`, { cause: thrown })
    }
  }
  const call = async <T>(signal: AbortSignal | undefined, run: (cancel: RawCancel | undefined) => T | Promise<T>) => {
    throwIfCancelled(signal)
    return sync(() => run(undefined))
  }
  return Object.assign(call, { sync, failed: () => state.failed })
}
