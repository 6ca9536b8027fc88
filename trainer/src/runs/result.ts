/** result.json: the figures of a run. A run that has one is finished. */
import { join } from 'node:path'
import type { Figures } from '../evaluate.ts'
import { readJson } from '../files.ts'
import type { TrainOptions } from './options.ts'

interface Artifact {
  path: string
  sha256: string
  name: string
}

/** `metrics` are on the test split: of the run's classes, and after base ones of the new ones too. */
export interface RunResult {
  run: string
  method: TrainOptions['method']
  /** What it left: a bundle, or a linear probe. */
  bundle?: Artifact
  probe?: Artifact
  metrics: Record<string, Figures>
  /** Harmonic mean of base and new accuracy, where both were measured. */
  h: number | null
  /** The last epoch's; null where nothing is learned by steps. */
  loss: number | null
  steps: number
  /** Of the part of the run that this process did. */
  seconds: number
  images_per_second: number
}

/** A finished run's result, or `undefined`. */
export async function finishedRun(folder: string): Promise<RunResult | undefined> {
  return (await readJson(join(folder, 'result.json'))) as RunResult | undefined
}
