/** How far a sweep is and how long it will take: from the time that its jobs took, and from what the running ones wrote last. */
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { formatDuration } from '../progress.ts'
import { isDone, type Task } from './job.ts'

const TAIL_BYTES = 2048

/** Counts jobs, and guesses. */
export class Pace {
  readonly #tasks: readonly Task[]
  readonly #width: number | undefined
  readonly #now: () => number
  readonly #running = new Map<Task, { since: number; share: number }>()
  /** Seconds for one unit of work, of the jobs that ended here. */
  readonly #rates = new Map<string, number[]>()
  readonly #done: Set<Task>

  constructor(tasks: readonly Task[], width: number | undefined, now: () => number = () => performance.now()) {
    this.#tasks = tasks
    this.#width = width
    this.#now = now
    this.#done = new Set(tasks.filter(isDone))
  }

  get done(): number {
    return this.#done.size
  }

  start(task: Task): void {
    this.#running.set(task, { since: this.#now(), share: 0 })
  }

  /** Returns the seconds that the job took. */
  end(task: Task): number {
    const seconds = (this.#now() - (this.#running.get(task)?.since ?? this.#now())) / 1000
    this.#running.delete(task)
    if (!isDone(task)) return seconds
    this.#done.add(task)
    const rates = this.#rates.get(kindOf(task)) ?? []
    this.#rates.set(kindOf(task), [...rates, seconds / unitsOf(task)])
    return seconds
  }

  /** Looks how far the running jobs are. */
  async look(): Promise<void> {
    for (const [task, state] of this.#running) state.share = (await shareOf(task)) ?? state.share
  }

  /** `12/36 done, 2 running (coop-16shots-base-seed1 40%), ETA 3:10`. */
  line(): string {
    const running = [...this.#running].map(([{ name }, { share }]) => `${name} ${Math.floor(100 * share)}%`)
    const left = this.seconds()
    return [
      `${this.#done.size}/${this.#tasks.length} done`,
      `ETA ${left === undefined ? '--:--' : formatDuration(left)}`,
      ...(running.length > 0 ? [`${running.length} running: ${running.join(', ')}`] : []),
    ].join(', ')
  }

  /** Seconds that are left, as far as one can tell. */
  seconds(): number | undefined {
    const all = [...this.#rates.values()].flat()
    const partial = [...this.#running].flatMap(([task, { since, share }]) => {
      if (share < 0.02) return []
      return [[kindOf(task), (this.#now() - since) / 1000 / (share * unitsOf(task))] as const]
    })
    if (all.length + partial.length === 0) return undefined
    const rateOf = (kind: string) => {
      const known = [...(this.#rates.get(kind) ?? []), ...partial.filter(([of]) => of === kind).map(([, rate]) => rate)]
      return mean(known.length > 0 ? known : [...all, ...partial.map(([, rate]) => rate)])
    }
    let left = 0
    for (const task of this.#tasks) {
      if (!this.#done.has(task))
        left += (1 - (this.#running.get(task)?.share ?? 0)) * unitsOf(task) * rateOf(kindOf(task))
    }
    return left / Math.max(1, Math.min(this.#width ?? this.#running.size, this.#tasks.length - this.#done.size))
  }
}

/** Jobs of one kind take times that are as their units. */
function kindOf({ options: { method, data, model } }: Task): string {
  return JSON.stringify([method, data, model])
}

/** Passes over images, up to a factor that is the same for all jobs of a kind. */
function unitsOf({ options: { shots }, epochs }: Task): number {
  return Math.max(1, epochs) * (shots || 16)
}

/** Which part of its epochs a run has behind it, from the last line of its metrics. */
async function shareOf({ folder, epochs }: Task): Promise<number | undefined> {
  const line = await lastLine(join(folder, 'metrics.jsonl'))
  const epoch = /"epoch":(\d+)/.exec(line)?.[1]
  return epoch === undefined || epochs === 0 ? undefined : Math.min(1, Number(epoch) / epochs)
}

async function lastLine(path: string): Promise<string> {
  let file: FileHandle | undefined
  try {
    file = await open(path)
    const { size } = await file.stat()
    const length = Math.min(size, TAIL_BYTES)
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length)
    return buffer.toString('utf8').trimEnd().split('\n').at(-1) ?? ''
  } catch {
    return '' // it has written none yet
  } finally {
    await file?.close()
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
}
