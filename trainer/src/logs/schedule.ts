/** The learning rate of each epoch, as the core's `train/schedule.rs` has it: constant warm-up, then a cosine over all epochs. */
import type { TrainOptions } from '../runs/options.ts'

/** Of epoch `e`, counted from 0. The cosine begins after the warm-up and would reach 0 only after `epochs` of its own. */
export function lrAt(
  { lr, epochs, warmup_epochs, warmup_lr }: Pick<TrainOptions, 'lr' | 'epochs' | 'warmup_epochs' | 'warmup_lr'>,
  e: number,
): number {
  return e < warmup_epochs ? warmup_lr : 0.5 * lr * (1 + Math.cos((Math.PI * (e - warmup_epochs)) / epochs))
}
