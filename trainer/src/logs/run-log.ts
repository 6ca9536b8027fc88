/** What is told of a run while it goes: on stderr, in its log.txt, and to TensorBoard. */
import type { EpochReport, NativeModel, Progress, TrainPlan } from 'cocoop/node'
import type { Dataset } from '../datasets/dataset.ts'
import type { Figures } from '../evaluate.ts'
import type { Config } from '../runs/config.ts'
import type { RunFolder } from '../runs/folder.ts'
import type { TrainOptions } from '../runs/options.ts'
import type { Selected } from '../select.ts'

/** A run that is about to begin, or to go on. */
export interface Beginning {
  run: RunFolder
  options: TrainOptions
  config: Config
  model: NativeModel
  dataset: Dataset
  /** The training images. */
  data: Selected
}

/** Called in this order; nothing but a full disk makes one throw. */
export interface RunLog {
  /** Everything is read, nothing is done. */
  begin(beginning: Beginning): void
  /** Batches begin; `step` of them were done by earlier processes. */
  start(plan: TrainPlan, step: number): void
  batch(event: Progress): void
  epoch(report: EpochReport): void
  /** A state is saved. */
  saved(path: string): void
  /** All epochs are done; `images` and `seconds` of this process. */
  learned(images: number, seconds: number): void
  /** A test is done; `own` if it is of the classes that the run was asked for. */
  tested(classes: string, figures: Figures, own: boolean): void
  /** The run is over, also where it was stopped before. */
  end(): void
}

/** Tells all of them. */
export function several(logs: readonly RunLog[]): RunLog {
  const all = (tell: (log: RunLog) => void) => {
    for (const log of logs) tell(log)
  }
  return {
    begin: (beginning) => all((log) => log.begin(beginning)),
    start: (plan, step) => all((log) => log.start(plan, step)),
    batch: (event) => all((log) => log.batch(event)),
    epoch: (report) => all((log) => log.epoch(report)),
    saved: (path) => all((log) => log.saved(path)),
    learned: (images, seconds) => all((log) => log.learned(images, seconds)),
    tested: (classes, figures, own) => all((log) => log.tested(classes, figures, own)),
    end: () => all((log) => log.end()),
  }
}
