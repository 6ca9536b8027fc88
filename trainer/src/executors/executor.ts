/** Where the jobs of a sweep are run: processes of this machine, a SLURM array, workers of a queue. */
import type { Context } from '../command.ts'
import type { Task } from '../sweep/job.ts'

/** Why a sweep is stopped that is to end with its first failure. */
export const FAIL_FAST = 'fail-fast'

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
