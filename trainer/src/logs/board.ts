/** What a run tells TensorBoard, under the original's tags. A step is the number of batches that were done before it, as the original's. */
import type { Progress, TrainPlan } from 'cocoop/node'
import type { Figures } from '../evaluate.ts'
import type { RunLog } from './run-log.ts'
import { EventFile } from './tensorboard.ts'

export class Board implements RunLog {
  readonly #folder: string
  #file: EventFile | undefined
  #batches = 0
  #steps = 0
  #loss = 0
  #acc = 0
  #count = 0

  constructor(folder: string) {
    this.#folder = folder
  }

  begin(): void {}

  start({ epochs, batches }: TrainPlan, step: number): void {
    this.#batches = batches
    this.#steps = epochs * batches
    this.#file = new EventFile(this.#folder, step)
  }

  /** Loss and accuracy are the epoch's means so far, as the original's; the rate is the one that the batch was learned at. */
  batch({ epoch, batch, loss, lr, correct, images }: Progress): void {
    if (batch === 1) [this.#loss, this.#acc, this.#count] = [0, 0, 0]
    this.#loss += loss
    this.#acc += (100 * correct) / images
    this.#count += 1
    const means = { 'train/loss': this.#loss / this.#count, 'train/acc': this.#acc / this.#count }
    this.#file?.scalars({ ...means, 'train/lr': lr }, (epoch - 1) * this.#batches + batch - 1)
  }

  epoch(): void {}

  saved(): void {}

  learned(): void {}

  /** Tests stand after all steps. Those of other classes than the run's have tags of their own. */
  tested(classes: string, { accuracy, macro_f1 }: Figures, own: boolean): void {
    this.#file ??= new EventFile(this.#folder, 0)
    const split = own ? 'test' : `test_${classes}`
    const figures = { accuracy, error_rate: 100 - accuracy, macro_f1 }
    for (const [name, value] of Object.entries(figures))
      this.#file.scalars({ [`${split}/${name}`]: value }, this.#steps)
  }

  end(): void {
    this.#file?.[Symbol.dispose]()
    this.#file = undefined
  }
}
