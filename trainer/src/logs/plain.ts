/** The log in this project's own lines: one live line, and a line in log.txt for each epoch. */
import type { EpochReport, Progress, TrainPlan } from 'cocoop/node'
import { formatDuration, formatRate, Meter } from '../progress.ts'
import type { RunFolder } from '../runs/folder.ts'
import type { Terminal } from '../terminal.ts'
import type { Beginning, RunLog } from './run-log.ts'

export class PlainLog implements RunLog {
  readonly #run: RunFolder
  readonly #terminal: Terminal
  #meter: Meter | undefined
  #epochs = 0
  #line = ''

  constructor(run: RunFolder, terminal: Terminal) {
    this.#run = run
    this.#terminal = terminal
  }

  begin({ run, options, dataset, data, config }: Beginning): void {
    const classes = options.classes === 'all' ? '' : `${options.classes} `
    const learning = options.method === 'coop' || options.method === 'cocoop'
    this.#terminal.log(
      `${options.method} on ${dataset.name}: ${data.classnames.length} ${classes}classes, ${data.items.length} images, model ${config.model.id}, ${learning ? `batch ${options.batch_size}, lr ${options.lr}, ` : ''}run ${run.path}`,
    )
  }

  start(plan: TrainPlan, step: number): void {
    this.#meter = new Meter(plan)
    this.#epochs = plan.epochs
    if (step > 0) this.#terminal.log(`going on after step ${step} of ${plan.epochs * plan.batches}`)
  }

  batch(event: Progress): void {
    this.#line = this.#meter?.line(event) ?? ''
    this.#terminal.status(this.#line)
  }

  epoch({ epoch, loss, accuracy }: EpochReport): void {
    this.#run.log(
      `epoch ${epoch}/${this.#epochs}: loss ${loss.toFixed(4)}, training accuracy ${(100 * accuracy).toFixed(1)}%`,
    )
  }

  saved(): void {}

  learned(images: number, seconds: number): void {
    if (this.#line !== '') this.#terminal.settle(this.#line)
    if (images === 0) return
    this.#terminal.log(
      `trained on ${images} images in ${formatDuration(seconds)}: ${formatRate(images / seconds)} images/s`,
    )
  }

  tested(): void {}

  end(): void {}
}
