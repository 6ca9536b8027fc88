/** cocoop for Cloudflare Workers and their like, where WASM comes as compiled modules: no bytes are fetched or compiled here. */
import relaxed from 'cocoop-wasm/relaxed.wasm'
import simd from 'cocoop-wasm/simd.wasm'
import { Classifier as Base, type LoadOptions } from './classifier.ts'
import type { EngineModel, ModelFiles } from './engine.ts'
import { WasmEngine, wasmBuild } from './wasm.ts'

export * from './common.ts'
export { WasmEngine } from './wasm.ts'

/** A new WASM instance of the best build for this host. */
export async function createEngine(): Promise<WasmEngine> {
  const build = wasmBuild()
  return new WasmEngine(build === 'relaxed' ? relaxed : simd, build)
}

/** {@link Base} with a new WASM engine where none is given. */
export class Classifier extends Base {
  static override async load(
    model: EngineModel | ModelFiles,
    bundle: Uint8Array,
    options: LoadOptions = {},
  ): Promise<Base> {
    return await Base.load(model, bundle, { ...options, engine: options.engine ?? (await createEngine()) })
  }
}
