/**
 * Jobs as processes of this machine, some at a time, each with its share of the threads.
 * They stand in process groups of their own, so that a terminal's Ctrl-C reaches this process alone, and stop when it is gone.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { extname, join } from 'node:path'
import { availableMemory } from 'node:process'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { EXIT } from '../errors.ts'
import { locateModel } from '../models.ts'
import type { Task } from '../sweep/job.ts'
import type { Executor, Running } from './executor.ts'

/** The program, to be run by this Node.js. */
export const CLI = fileURLToPath(new URL(`../cli${extname(import.meta.url)}`, import.meta.url))

/** A process that was killed is tried again so often within a sweep. */
const RETRIES = 1

export class LocalExecutor implements Executor {
  readonly width: number
  readonly #threads: number

  /** @param jobs processes at a time, which share the `cores` */
  constructor(jobs: number, cores = availableParallelism()) {
    this.width = jobs
    this.#threads = Math.max(1, Math.floor(cores / jobs))
  }

  describe(): string {
    const [n, t] = [this.width, this.#threads]
    return `${n} process${n === 1 ? '' : 'es'} of ${t} thread${t === 1 ? '' : 's'}`
  }

  async run(tasks: readonly Task[], running: Running): Promise<void> {
    const queue = new Queue(tasks)
    const children = new Set<ChildProcess>()
    const stop = () => {
      for (const child of children) child.kill('SIGINT')
    }
    const killAll = () => {
      for (const child of children) child.kill('SIGKILL')
    }
    running.signal.addEventListener('abort', stop)
    process.on('exit', killAll) // the second Ctrl-C
    try {
      await Promise.all(
        Array.from({ length: Math.min(this.width, tasks.length) }, () => this.#slot(queue, children, running)),
      )
    } finally {
      process.off('exit', killAll)
      running.signal.removeEventListener('abort', stop)
    }
  }

  async #slot(queue: Queue, children: Set<ChildProcess>, running: Running): Promise<void> {
    for (let task = queue.take(); task !== undefined && !running.signal.aborted; task = queue.take()) {
      running.started(task)
      let end: JobEnd = { killed: false, died: undefined }
      for (let attempt = 0; attempt <= RETRIES && !running.signal.aborted; attempt++) {
        const { child, ended } = startJob(task.folder, this.#threads)
        children.add(child)
        end = await ended
        children.delete(child)
        if (!end.killed) break
      }
      queue.release(task)
      running.ended(task, end.died)
    }
  }
}

/** How a job's process ended; `died` where it could leave no word of it in the folder. */
export interface JobEnd {
  killed: boolean
  died: string | undefined
}

/** What a job takes beside its model, and how often it takes the model's file: f16 and packed weights are unfolded. */
const JOB_BYTES = { base: 400_000_000, model: 3 }
/** Of the free memory, how much jobs may take. */
const SHARE = 0.7

/**
 * How many jobs to run at a time unless it is said: one to a core, as far as the memory goes. A process of one thread
 * does more in its time than a share of many threads in one, on small models and on large ones.
 */
export async function defaultJobs(models: readonly string[], cores = availableParallelism()): Promise<number> {
  const sizes = await Promise.all(models.map(bytesOf))
  const each = JOB_BYTES.base + JOB_BYTES.model * Math.max(0, ...sizes)
  return Math.max(1, Math.min(cores, Math.floor((SHARE * availableMemory()) / each)))
}

async function bytesOf(model: string): Promise<number> {
  const { paths } = await locateModel(model)
  return paths.reduce((sum, path) => sum + statSync(path).size, 0)
}

/** Starts a process that does a job and stops when this one is gone. What it says is in output.txt of the folder. */
export function startJob(folder: string, threads: number): { child: ChildProcess; ended: Promise<JobEnd> } {
  const log = join(folder, 'output.txt')
  const output = openSync(log, 'w')
  const child = spawn(process.execPath, [...process.execArgv, CLI, 'job', folder], {
    detached: true,
    stdio: ['ignore', output, output, 'ipc'],
    env: { ...process.env, RAYON_NUM_THREADS: String(threads) },
  })
  closeSync(output)
  const ended = new Promise<JobEnd>((done) => {
    child.once('error', (error) => done({ killed: false, died: error.message }))
    child.once('exit', (code, signal) => {
      if (signal !== null) done({ killed: true, died: `its process was killed by ${signal}` })
      else done({ killed: false, died: code === 0 || code === EXIT.interrupted ? undefined : lastLines(log) })
    })
  })
  return { child, ended }
}

/**
 * The tasks in their order, but for one thing: of tasks that would compute the same features, the first goes ahead alone
 * as long as there is other work.
 */
class Queue {
  #left: Task[]
  readonly #warm = new Set<string>()
  readonly #warming = new Map<Task, string>()

  constructor(tasks: readonly Task[]) {
    this.#left = [...tasks]
  }

  take(): Task | undefined {
    const busy = new Set(this.#warming.values())
    const at = this.#left.findIndex((task) => this.#warm.has(featuresOf(task)) || !busy.has(featuresOf(task)))
    const [task] = this.#left.splice(Math.max(0, at), 1)
    if (task !== undefined && !this.#warm.has(featuresOf(task))) this.#warming.set(task, featuresOf(task))
    return task
  }

  release(task: Task): void {
    this.#warming.delete(task)
    this.#warm.add(featuresOf(task))
  }
}

function featuresOf({ options, tests }: Task): string {
  return JSON.stringify([options.model, tests.map(({ data }) => data).sort()])
}

/** The end of what a process said. */
function lastLines(log: string, n = 3): string {
  const lines = stripVTControlCharacters(readFileSync(log, 'utf8')).split('\n')
  return lines
    .filter((line) => line.trim() !== '')
    .slice(-n)
    .join('; ')
}
