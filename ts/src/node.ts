/**
 * cocoop for Node.js: the native addon where it loads, else WASM. Training needs the addon.
 * `createEngine` serves; `nativeEngine` trains; `wasmEngine` proves what a worker will answer.
 */
import { readFile } from 'node:fs/promises'
import { urls } from 'cocoop-wasm/urls'
import { z } from 'zod'
import { type Classifier as Base, classifierOn } from './classifier.ts'
import type { CallOptions, Engine } from './engine.ts'
import { CocoopError, messageOf } from './errors.ts'
import { fitOn, type LinearProbe, type LinearProbeFit, type LinearProbeProblem, probsOn } from './linear-probe.ts'
import { type Addon, NativeEngine, nativeSync } from './napi.ts'
import { parseJson } from './schemas.ts'
import { WasmEngine, wasmBuild } from './wasm.ts'

export * from './common.ts'
export type { LinearProbe, LinearProbeFit, LinearProbeProblem } from './linear-probe.ts'
export {
  type Applied,
  type ModelPaths,
  NativeEngine,
  NativeModel,
  OnnxExport,
  type Part,
  type Progress,
  type PromptVectors,
  Trainer,
} from './napi.ts'
export { FsStore } from './stores/fs.ts'
export { WasmEngine } from './wasm.ts'

let addonPromise: Promise<Addon> | undefined

/** The addon, loaded once. Throws `no_addon` with the loader's reason. */
function loadAddon(): Promise<Addon> {
  addonPromise ??= import('cocoop-napi').then(
    (addon): Addon => addon,
    (cause) => {
      throw new CocoopError('no_addon', `the native addon could not be loaded: ${messageOf(cause)}`, { cause })
    },
  )
  return addonPromise
}

/** The engine over the addon. Throws `no_addon` where there is none for this machine. */
export async function nativeEngine(): Promise<NativeEngine> {
  return new NativeEngine(await loadAddon())
}

/** A new WASM engine: `relaxed`, `simd`, or the better of them here. */
export async function wasmEngine(build: 'relaxed' | 'simd' = wasmBuild()): Promise<WasmEngine> {
  try {
    return new WasmEngine(await WebAssembly.compile(await readFile(urls[build])), build)
  } catch (cause) {
    throw new CocoopError('io', `${urls[build]}: ${messageOf(cause)}`, { cause })
  }
}

/** The addon where it loads, else WASM; `engine.name` says which. */
export async function createEngine(): Promise<Engine> {
  try {
    return await nativeEngine()
  } catch (error) {
    if (CocoopError.is(error) && error.code === 'no_addon') return await wasmEngine()
    throw error
  }
}

/** Opens bundles; {@link createEngine}'s engine where none is given. */
export const Classifier: typeof Base = classifierOn(createEngine)
export type Classifier = Base

const indices = z.array(z.int().nonnegative())
const FewShot = z.strictObject({ train: indices, val: indices })
const Shuffles = z.array(indices)
const Subsample = z.strictObject({ indices, classes: indices })

/** Few-shot sampling as the originals do it: indices into `labels` and `val_labels`, in the order in which they were drawn. */
export async function fewShot(spec: {
  labels: number[]
  shots: number
  val_labels: number[]
  seed: number
}): Promise<z.infer<typeof FewShot>> {
  const addon = await loadAddon()
  return parseJson(
    FewShot,
    nativeSync(() => addon.fewShot(JSON.stringify(spec))),
    'few-shot sample',
    'internal',
  )
}

/** What CPython's `random.seed(seed)`, then `random.shuffle` of lists of these sizes one after the other, make of their indices. */
export async function shuffles(spec: { sizes: number[]; seed: number }): Promise<number[][]> {
  const addon = await loadAddon()
  return parseJson(
    Shuffles,
    nativeSync(() => addon.shuffles(JSON.stringify(spec))),
    'shuffles',
    'internal',
  )
}

/** The originals' base/new cut: indices of the images of one half, and the classes that it keeps. */
export async function subsample(labels: Uint32Array, half: 'base' | 'new'): Promise<z.infer<typeof Subsample>> {
  const addon = await loadAddon()
  return parseJson(
    Subsample,
    nativeSync(() => addon.subsample(labels, half)),
    'subsample',
    'internal',
  )
}

/**
 * Learns a linear probe; the same bits on any number of threads.
 * @throws CocoopError `bad_classes` of fewer than two, `too_few_images` of a class without any, `bad_label`, `bad_shape`,
 * `not_finite`, `bad_option`, `cancelled`
 */
export async function fitLinearProbe(problem: LinearProbeProblem, options: CallOptions = {}): Promise<LinearProbeFit> {
  return await fitOn(await loadAddon(), problem, options)
}

/** Probabilities (n, n_cls) that a linear probe gives features (n, dim). */
export async function linearProbeProbs(probe: LinearProbe, features: Float32Array): Promise<Float32Array> {
  return await probsOn(await loadAddon(), probe, features)
}
