/** Where the jobs of a sweep are run: processes of this machine, a SLURM array, workers of a queue. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Context } from '../command.ts'
import { isDone, readFailure, type Task } from '../sweep/job.ts'

/** Why a sweep is stopped that is to end with its first failure. */
export const FAIL_FAST = 'fail-fast'

/** How long the results of a task that ended may take to be seen through a shared folder. */
const SETTLE_MS = 3000

/** What a sweep tells its executor, and hears of it. */
export interface Running {
  /** Aborted: no more jobs are begun, and those that run are stopped within a batch, each leaving what it can go on from. */
  signal: AbortSignal
  terminal: Context['terminal']
  started: (task: Task) => void
  /**
   * The job is not run any more. Whether it is done its folder says; `died` is why its process ended, where it could leave no word itself.
   */
  ended: (task: Task, died?: string) => void
}

export interface Executor {
  /** How many jobs may run at once, where that is known. */
  width?: number
  /** For the line that says what begins: "2 processes of 1 thread". */
  describe: () => string
  /**
   * Runs each task once, in their order as far as it can. Settles when none of them runs any more.
   * @throws if the executor itself fails; jobs that fail are only `ended`
   */
  run: (tasks: readonly Task[], running: Running) => Promise<void>
}

/** Waits until the folder of a task that ended shows its result or its failure: on another machine it may do so a little later. */
export async function settled(task: Task): Promise<void> {
  const end = performance.now() + SETTLE_MS
  while (!isDone(task) && (await readFailure(task.folder)) === undefined && performance.now() < end) await sleep(100)
}
