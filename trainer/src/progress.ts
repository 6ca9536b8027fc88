/** The live line of a training run: epoch, batch, loss, learning rate, images per second, time left. */
import type { Progress, TrainPlan } from 'cocoop/node'

const WINDOW_MS = 10_000

/** Counts images over the last seconds, and from that the time left. */
export class Meter {
  readonly #plan: TrainPlan
  readonly #now: () => number
  readonly #marks: { time: number; images: number }[]
  #images = 0
  #loss = Number.NaN

  constructor(plan: TrainPlan, now: () => number = () => performance.now()) {
    this.#plan = plan
    this.#now = now
    this.#marks = [{ time: now(), images: 0 }]
  }

  /** Takes a batch and returns the live line. */
  line(progress: Progress): string {
    const { epochs, batches } = this.#plan
    this.#images += progress.images
    // A single image's loss jumps: the eye follows a running mean.
    this.#loss = Number.isNaN(this.#loss) ? progress.loss : 0.9 * this.#loss + 0.1 * progress.loss
    const time = this.#now()
    this.#marks.push({ time, images: this.#images })
    while (this.#marks.length > 2 && (this.#marks[1]?.time ?? time) < time - WINDOW_MS) this.#marks.shift()
    const left = (epochs - progress.epoch) * batches + batches - progress.batch
    const rate = this.rate()
    return [
      `epoch ${progress.epoch}/${epochs}`,
      `batch ${String(progress.batch).padStart(String(batches).length)}/${batches}`,
      `loss ${this.#loss.toFixed(4)}`,
      `lr ${progress.lr.toExponential(2)}`,
      `${formatRate(rate)} images/s`,
      `ETA ${rate > 0 ? formatDuration((left * progress.images) / rate) : '--:--'}`,
    ].join('  ')
  }

  /** Images per second over the last ten seconds. */
  rate(): number {
    const [first, last] = [this.#marks[0], this.#marks.at(-1)]
    if (first === undefined || last === undefined || last.time <= first.time) return 0
    return (1000 * (last.images - first.images)) / (last.time - first.time)
  }
}

/** How far something with a known end is, and when it will be there. */
export class Countdown {
  readonly #total: number
  readonly #now: () => number
  /** Where the work began: what was done before that took no time. */
  #from: { time: number; done: number } | undefined

  constructor(total: number, now: () => number = () => performance.now()) {
    this.#total = total
    this.#now = now
  }

  /** `300/1600  ETA 0:12`; called before the first piece of work or after it, and then as often as there is news. */
  line(done: number): string {
    const time = this.#now()
    this.#from ??= { time, done }
    const rate = (done - this.#from.done) / (time - this.#from.time)
    const eta = rate > 0 && Number.isFinite(rate) ? formatDuration((this.#total - done) / rate / 1000) : '--:--'
    return `${done}/${this.#total}  ETA ${eta}`
  }
}

/** `m:ss`, or `h:mm:ss` from one hour. */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds)
  const two = (value: number) => String(value).padStart(2, '0')
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)]
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`
}

/** Two or three significant digits are as many as a rate has. */
export function formatRate(rate: number): string {
  return rate >= 99.5 ? rate.toFixed(0) : rate.toPrecision(2)
}

/** `1.5 MB`, in powers of 1000. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log10(bytes) / 3))
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`
}
