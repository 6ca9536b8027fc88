/** cocoop for Cloudflare Workers and their like, where WASM comes as compiled modules: no bytes are fetched or compiled here. */
import relaxed from 'cocoop-wasm/relaxed.wasm'
import simd from 'cocoop-wasm/simd.wasm'
import { type Classifier as Base, classifierOn } from './classifier.ts'
import { WasmEngine, wasmBuild } from './wasm.ts'

export * from './common.ts'
export { WasmEngine } from './wasm.ts'

/** A new WASM instance of the best build for this host. */
export async function createEngine(): Promise<WasmEngine> {
  const build = wasmBuild()
  return new WasmEngine(build === 'relaxed' ? relaxed : simd, build)
}

/** Opens bundles; a new WASM engine where none is given. */
export const Classifier: typeof Base = classifierOn(createEngine)
export type Classifier = Base
