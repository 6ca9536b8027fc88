/** What is told of a run while it goes: on stderr, and in its log.txt. */
import type { EpochReport, Progress, TrainPlan } from 'cocoop/node'
import type { Figures } from '../evaluate.ts'
import type { Work } from '../runs/method.ts'

/** Called in this order; none of them throws but for a full disk. */
export interface RunLog {
  /** Everything is read, nothing is done. */
  begin(work: Work): void
  /** Batches begin; `step` of them were done by an earlier process. */
  start(plan: TrainPlan, step: number): void
  batch(event: Progress): void
  epoch(report: EpochReport): void
  /** The state after `step` batches is saved. */
  saved(path: string): void
  /** All epochs are done; `images` and `seconds` of this process. */
  learned(images: number, seconds: number): void
  /** A test is done; `own` if it is of the classes that the run was asked for. */
  tested(classes: string, figures: Figures, own: boolean): void
  end(): void
}
