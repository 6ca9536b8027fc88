/** What every method of a run gets, and what it gives back: the run around it reads data, tests and writes the folder. */
import type { NativeEngine } from 'cocoop/node'
import type { Context } from '../command.ts'
import type { Leader } from '../distributed/leader.ts'
import type { FeatureCache } from '../feature-cache.ts'
import type { ReadOptions } from '../images.ts'
import type { Beginning, RunLog } from '../logs/run-log.ts'
import type { Selected } from '../select.ts'
import type { Predictor } from './predictor.ts'

/** What a method works with. */
export interface Work extends Beginning {
  engine: NativeEngine
  cache: FeatureCache
  /** The training images, proven to decode. */
  data: Selected & { images: Uint8Array[] }
  context: Context
  reading: ReadOptions
  log: RunLog
  /** Where other processes train along. */
  leader?: Leader | undefined
}

/** What there was to do, in figures. */
export interface Effort {
  /** The last epoch's mean, nats; NaN where nothing is learned by steps. */
  loss: number
  steps: number
  seconds: number
  images: number
}

/** A file that a run leaves. */
export interface Artifact {
  name: 'bundle.safetensors' | 'probe.safetensors'
  bytes: Uint8Array
}

export interface Outcome {
  effort: Effort
  predictor: Predictor
  /** The run's result as a file with its figures in it. */
  artifact: (metrics: Record<string, unknown>) => Promise<Artifact>
}

/** @throws TrainError `cancelled` with what to type to go on; what the data and the model make of it */
export type Method = (work: Work) => Promise<Outcome>

/** What a file says of the run that made it: the options that are said nowhere else in it, and the data. */
export function provenance({ options, config }: Work): Record<string, unknown> {
  const { shots, classes, seed, epochs, batch_size, lr, momentum, weight_decay, warmup_epochs, warmup_lr } = options
  const { augment, views, meta_net_reduction } = options
  const learned = { epochs, batch_size, lr, momentum, weight_decay, warmup_epochs, warmup_lr, augment, views }
  return {
    shots,
    classes,
    seed,
    ...(options.method === 'coop' || options.method === 'cocoop' ? learned : {}),
    ...(options.method === 'cocoop' ? { meta_net_reduction } : {}),
    dataset: config.data.name,
    fingerprint: config.data.fingerprint,
    version: config.version,
  }
}
