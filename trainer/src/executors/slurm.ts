/**
 * Jobs as tasks of SLURM arrays, on machines that share the sweep's folder. What is in the queue is asked of SLURM each time and kept
 * nowhere: a sweep that was killed finds its arrays again by their names and waits for them instead of submitting twice.
 */
import { execFile } from 'node:child_process'
import { mkdir, readFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { TrainError } from '../errors.ts'
import { sha256, writeDurably } from '../files.ts'
import { isDone, readFailure, type Task } from '../sweep/job.ts'
import { type Executor, FAIL_FAST, type Running, settled } from './executor.ts'
import { CLI } from './local.ts'

/** SLURM's own default limit is 1001. */
const MAX_ARRAY = 1000
const POLL_MS = { first: 500, most: 10_000 }
const CANCEL_MS = 60_000
/** How often SLURM may give no answer. */
const PATIENCE = 30

export interface SlurmOptions {
  /** The sweep's. Lists, scripts and what the tasks print lie in its folder slurm/. */
  folder: string
  /** Tasks at a time. */
  jobs?: number | undefined
  /** For sbatch. */
  args: readonly string[]
  /** Jobs in one task. */
  chunk: number
  /** Cancel the arrays when the sweep is stopped. */
  cancel: boolean
}

/** A task of an array in SLURM's queue. */
interface Queued {
  array: string
  list: string
  index: number
  state: string
}

export class SlurmExecutor implements Executor {
  readonly #options: SlurmOptions
  readonly #folder: string
  /** All arrays of a sweep have names that begin with this. */
  readonly #prefix: string

  constructor(options: SlurmOptions) {
    this.#options = options
    this.#folder = join(resolve(options.folder), 'slurm')
    this.#prefix = `cocoop-${short(resolve(options.folder))}-`
  }

  describe(): string {
    const { chunk, jobs, args } = this.#options
    const parts = [`${chunk} in a task`, ...(jobs === undefined ? [] : [`${jobs} tasks at a time`]), ...args]
    return `SLURM array: ${parts.join(', ')}`
  }

  async run(tasks: readonly Task[], running: Running): Promise<void> {
    const byFolder = new Map(tasks.map((task) => [resolve(task.folder), task]))
    const waiting = new Set(byFolder.keys())
    const queued = await this.#folders(await this.#queue())
    const fresh = [...waiting].filter((folder) => !queued.has(folder))
    if (fresh.length < waiting.size)
      running.terminal.log(`${waiting.size - fresh.length} jobs are in SLURM's queue already`)
    for (let i = 0; i < fresh.length; i += MAX_ARRAY * this.#options.chunk) {
      const id = await this.#submit(fresh.slice(i, i + MAX_ARRAY * this.#options.chunk))
      running.terminal.log(`submitted array ${id}`)
    }
    await this.#wait(byFolder, waiting, running)
  }

  async #wait(byFolder: Map<string, Task>, waiting: Set<string>, running: Running): Promise<void> {
    const begun = new Set<string>()
    const seen = new Map<string, string>()
    let pause = POLL_MS.first
    while (waiting.size > 0) {
      if (running.signal.aborted && !(await this.#stop(running))) return
      const states = await this.#folders(await this.#patientQueue(running))
      for (const [folder, { id }] of states) seen.set(folder, id)
      let news = false
      for (const folder of waiting) {
        const task = byFolder.get(folder)
        const state = states.get(folder)?.state
        if (task === undefined) continue
        // In a task of several jobs a later one is begun when the one before is done.
        if (state !== undefined && state !== 'PENDING' && !begun.has(folder)) {
          begun.add(folder)
          running.started(task)
        }
        if (state !== undefined && !isDone(task)) continue
        if (state === undefined) await settled(task)
        waiting.delete(folder)
        running.ended(task, await this.#died(task, seen.get(folder)))
        news = true
      }
      pause = news ? POLL_MS.first : Math.min(POLL_MS.most, pause * 1.5)
      if (waiting.size > 0) await sleep(pause, undefined, { signal: running.signal }).catch(() => undefined)
    }
  }

  /** Returns whether to go on waiting for the arrays to end. */
  async #stop({ signal, terminal }: Running): Promise<boolean> {
    const arrays = [...new Set((await this.#queue()).map(({ array }) => array))]
    if (arrays.length === 0) return false
    if (!this.#options.cancel && signal.reason !== FAIL_FAST) {
      terminal.log(`the array goes on: ${arrays.join(' ')}. The same command waits for it again; scancel ends it.`)
      return false
    }
    await slurm('scancel', arrays)
    terminal.log(`cancelled array ${arrays.join(' ')}`)
    const end = performance.now() + CANCEL_MS
    while ((await this.#queue()).length > 0 && performance.now() < end) await sleep(POLL_MS.first)
    return false
  }

  /** @param folders of at most MAX_ARRAY tasks. Returns the array's number */
  async #submit(folders: readonly string[]): Promise<string> {
    const { chunk, jobs, args } = this.#options
    const lines = Array.from({ length: Math.ceil(folders.length / chunk) }, (_, i) =>
      folders.slice(i * chunk, (i + 1) * chunk).join('\t'),
    )
    const text = `${lines.join('\n')}\n`
    const name = short(text)
    const [list, script] = [join(this.#folder, `${name}.txt`), join(this.#folder, `${name}.sh`)]
    await mkdir(this.#folder, { recursive: true })
    await writeDurably(list, text)
    const limit = jobs === undefined ? '' : `%${jobs}`
    await writeDurably(
      script,
      [
        '#!/bin/sh',
        `#SBATCH --job-name=${this.#prefix}${name}`,
        `#SBATCH --array=0-${lines.length - 1}${limit}`,
        `#SBATCH --output=${join(this.#folder, `${name}-%a.out`)}`,
        '#SBATCH --signal=B:INT@60', // a minute before the time is up the run saves a checkpoint
        '[ -z "$SLURM_CPUS_PER_TASK" ] || export RAYON_NUM_THREADS="$SLURM_CPUS_PER_TASK"',
        `exec ${[process.execPath, ...process.execArgv, CLI].map(quote).join(' ')} job --list ${quote(list)} --index "$SLURM_ARRAY_TASK_ID"`,
        '',
      ].join('\n'),
    )
    const out = await slurm('sbatch', ['--parsable', `--chdir=${process.cwd()}`, ...args, script])
    return out.trim().split(';')[0] ?? ''
  }

  /** The tasks of this sweep that SLURM has not done with. */
  async #queue(): Promise<Queued[]> {
    const out = await slurm('squeue', [
      '--noheader',
      '--array',
      `--user=${userInfo().username}`,
      '--format=%F|%K|%T|%j',
    ])
    return out.split('\n').flatMap((line) => {
      const [array = '', index = '', state = '', name = ''] = line.trim().split('|')
      return name.startsWith(this.#prefix)
        ? [{ array, index: Number(index), state, list: name.slice(this.#prefix.length) }]
        : []
    })
  }

  /** A controller that restarts does not end a sweep of hours. */
  async #patientQueue({ terminal, signal }: Running): Promise<Queued[]> {
    for (let i = 1; ; i++) {
      try {
        return await this.#queue()
      } catch (cause) {
        if (i === PATIENCE || signal.aborted) throw cause
        if (i === 1) terminal.warn(cause instanceof Error ? cause.message : String(cause))
        await sleep(POLL_MS.most, undefined, { signal }).catch(() => undefined)
      }
    }
  }

  /** The folders that those tasks are for, with the task's number and state. */
  async #folders(queue: readonly Queued[]): Promise<Map<string, { id: string; state: string }>> {
    const states = new Map<string, { id: string; state: string }>()
    for (const [list, entries] of Map.groupBy(queue, ({ list }) => list)) {
      const lines = (await readFile(join(this.#folder, `${list}.txt`), 'utf8').catch(() => '')).split('\n')
      for (const { array, index, state } of entries) {
        for (const folder of (lines[index] ?? '').split('\t')) states.set(folder, { id: `${array}_${index}`, state })
      }
    }
    return states
  }

  /** For a task that ended without a word of its own: what SLURM says of it, such as TIMEOUT or OUT_OF_MEMORY. */
  async #died(task: Task, id: string | undefined): Promise<string | undefined> {
    if (isDone(task) || (await readFailure(task.folder)) !== undefined) return undefined
    const state = id === undefined ? '' : await lastState(id)
    const how = state === '' ? '' : ` (${state})`
    return `SLURM ended it before it was done${how}; its output is in ${this.#folder}`
  }
}

/** How a task ended, from the accounting, or from the controller where there is none; empty where nobody knows. */
async function lastState(id: string): Promise<string> {
  const columns = ['--noheader', '--parsable2', '--allocations', '--format=State']
  const counted = await slurm('sacct', [...columns, `--jobs=${id}`]).catch(() => '')
  if (counted.trim() !== '') return counted.trim().split(/\s/)[0] ?? ''
  const shown = await slurm('scontrol', ['--oneliner', 'show', 'job', id]).catch(() => '')
  return /\bJobState=(\w+)/.exec(shown)?.[1] ?? ''
}

/** @throws TrainError `not_found` if SLURM is not installed; `worker_failed` with what it said */
function slurm(program: string, args: readonly string[]): Promise<string> {
  return new Promise((done, fail) => {
    execFile(program, [...args], (error, stdout, stderr) => {
      if (error === null) return done(stdout)
      if (error.code === 'ENOENT') {
        return fail(
          new TrainError('not_found', `${program} is not there`, 'Run it where SLURM is, or take another --executor.'),
        )
      }
      fail(
        new TrainError(
          'worker_failed',
          `${program}: ${stderr.trim() || error.message}`,
          'Is the cluster up? `sinfo` tells.',
        ),
      )
    })
  })
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}

function short(text: string): string {
  return sha256(Buffer.from(text)).slice(0, 10)
}
