/**
 * Runs what is not done yet of a list of jobs, by any executor. The state of a sweep is its folders and nothing else, so it may be killed at
 * any moment, and the same command goes on with it.
 */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from '../command.ts'
import { EXIT, TrainError } from '../errors.ts'
import { type Executor, FAIL_FAST } from '../executors/executor.ts'
import { lockFolder } from '../lock.ts'
import { formatDuration } from '../progress.ts'
import { type Failure, failurePath, isDone, type Job, readFailure, type Task, writeJob } from './job.ts'
import { Pace } from './pace.ts'

const LOOK_MS = 500

export interface SweepOptions {
  /** Holds a folder for each job. */
  folder: string
  jobs: readonly Job[]
  /** Makes the executor of the jobs that are left. */
  executor: (left: readonly Job[]) => Promise<Executor>
  /** Stop at the first job that fails. */
  fail_fast: boolean
}

/** How a sweep ended. */
export interface Swept {
  folder: string
  total: number
  done: number
  /** How many of those were done before. */
  found: number
  failed: ({ name: string } & Failure)[]
  seconds: number
}

/** The jobs of a sweep in their places. */
export function tasksOf(folder: string, jobs: readonly Job[]): Task[] {
  return jobs.map((job) => ({ ...job, folder: join(folder, job.name) }))
}

/**
 * Runs the jobs. One that fails stops no other; those that failed are in what is returned.
 * @throws TrainError `locked` if another sweep works in the folder; `cancelled` with what was done until then
 */
export async function runSweep({ folder, jobs, executor, fail_fast }: SweepOptions, context: Context): Promise<Swept> {
  const { terminal } = context
  await mkdir(folder, { recursive: true })
  const unlock = lockFolder(folder)
  try {
    const tasks = tasksOf(folder, jobs)
    for (const task of tasks) await writeJob(task)
    const left = tasks.filter((task) => !isDone(task))
    const found = tasks.length - left.length
    if (found > 0) terminal.log(`${found} of ${tasks.length} jobs are done already`)
    const started = performance.now()
    const failed = left.length === 0 ? [] : await runTasks(left, tasks, await executor(left), fail_fast, context)
    const seconds = (performance.now() - started) / 1000
    const done = tasks.filter(isDone).length
    if (context.signal.aborted && done < tasks.length)
      throw new TrainError(
        'cancelled',
        `stopped after ${done} of ${tasks.length} jobs; nothing is lost`,
        'Run the same command again: it goes on.',
      )
    return { folder, total: tasks.length, done, found, failed, seconds }
  } finally {
    unlock()
  }
}

/** Says which jobs failed and why, and sets the exit code. */
export function reportFailures({ failed, total, done, folder }: Swept, { terminal, exit }: Context): void {
  if (done === total) return
  for (const { name, code, message } of failed) terminal.warn(`${name}: ${message} (${code})`)
  const rest = total - done - failed.length
  const more = rest > 0 ? `, ${rest} are not done` : ''
  terminal.warn(
    `${failed.length} of ${total} jobs failed${more}; the same command tries them again; logs are in ${folder}`,
  )
  exit(EXIT.failure)
}

async function runTasks(
  left: readonly Task[],
  all: readonly Task[],
  executor: Executor,
  failFast: boolean,
  { terminal, signal }: Context,
): Promise<Swept['failed']> {
  const failed: Swept['failed'] = []
  const failing: Promise<void>[] = []
  const stop = new AbortController()
  const stopped = AbortSignal.any([signal, stop.signal])
  const pace = new Pace(all, executor.width)
  const show = () => terminal.status(`${pace.line()}${failed.length > 0 ? `, ${failed.length} failed` : ''}`)
  for (const { folder } of left) await rm(failurePath(folder), { force: true }) // each gets another try
  terminal.log(`${left.length} jobs, ${executor.describe()}`)
  const timer = setInterval(() => void pace.look().then(show), LOOK_MS)
  timer.unref()
  const ended = async (task: Task, died: string | undefined) => {
    const seconds = pace.end(task)
    if (isDone(task)) {
      terminal.log(`done ${pace.done}/${all.length} ${task.name} (${formatDuration(seconds)})`)
      return
    }
    const word = await readFailure(task.folder)
    if (stopped.aborted && word === undefined) return
    const failure = word ?? { code: 'worker_failed', message: died ?? 'it ended without a result', hint: '' }
    failed.push({ name: task.name, ...failure })
    terminal.warn(`failed ${task.name}: ${failure.message}`)
    if (failFast) stop.abort(FAIL_FAST)
  }
  try {
    await executor.run(left, {
      signal: stopped,
      terminal,
      started: (task) => pace.start(task),
      ended: (task, died) => void failing.push(ended(task, died)),
    })
    await Promise.all(failing)
  } finally {
    clearInterval(timer)
    terminal.clear()
  }
  return failed
}
