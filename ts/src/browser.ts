/** cocoop for browsers: fetches the one of the two WASM builds that the browser can run. */
import { urls as own } from 'cocoop-wasm/urls'
import { type Classifier as Base, classifierOn } from './classifier.ts'
import { CocoopError, messageOf } from './errors.ts'
import { WasmEngine, wasmBuild } from './wasm.ts'

export * from './common.ts'
export { WasmEngine } from './wasm.ts'

export interface EngineOptions {
  /** Where the two builds lie, for bundlers that do not understand `new URL(…, import.meta.url)` in cocoop-wasm. */
  urls?: { relaxed: string | URL; simd: string | URL }
}

/** Fetches and starts a WASM engine. Throws `io` when the module cannot be fetched or compiled. */
export async function createEngine({ urls = own }: EngineOptions = {}): Promise<WasmEngine> {
  const build = wasmBuild()
  try {
    const response = await fetch(urls[build])
    if (!response.ok) throw new Error(`HTTP ${response.status}`)
    return new WasmEngine(await WebAssembly.compile(await response.arrayBuffer()), build)
  } catch (cause) {
    throw new CocoopError('io', `${urls[build]}: ${messageOf(cause)}`, { cause })
  }
}

/** Opens bundles; a newly fetched WASM engine where none is given. */
export const Classifier: typeof Base = classifierOn(() => createEngine())
export type Classifier = Base
