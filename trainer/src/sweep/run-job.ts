/** Runs one job where this process stands: trains or goes on, tests, and leaves word of what went wrong. Every executor ends here. */
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Context } from '../command.ts'
import { codeOf, problemOf } from '../errors.ts'
import { toJson, writeDurably } from '../files.ts'
import { LOGS } from '../logs/flags.ts'
import { reportRun } from '../report/report.ts'
import { TRAIN } from '../runs/options.ts'
import { runTraining } from '../runs/run.ts'
import { testRun } from '../runs/test.ts'
import { failurePath, isDone, readJob, type Task } from './job.ts'

/** How long a job waits for another process that works in its folder; one whose sweep was killed stops after its batch, one whose host is gone is silent. */
const LOCKED_MS = 90_000
const POLL_MS = 250

/**
 * Does what is left of the job that was laid down in `folder`; nothing if it is done.
 * @throws what `runTraining` and `testRun` throw; it also stands in failure.json, unless the job was cancelled
 */
export async function runJob(folder: string, context: Context): Promise<void> {
  const task = await readJob(folder)
  if (isDone(task)) return
  await rm(failurePath(folder), { force: true })
  const started = performance.now()
  for (;;) {
    try {
      await train(task, context)
      for (const test of task.tests) await testRun(folder, test, flagsOf(task), context)
      if (flagsOf(task).report) await reportRun(folder, context)
      return
    } catch (cause) {
      const waited = performance.now() - started
      if (codeOf(cause) === 'locked' && waited < LOCKED_MS) {
        await sleep(POLL_MS, undefined, { signal: context.signal })
        continue
      }
      if (codeOf(cause) !== 'cancelled') await leaveWord(folder, cause)
      throw cause
    }
  }
}

async function train(task: Task, context: Context): Promise<void> {
  const { folder, options } = task
  const resume = existsSync(join(folder, 'config.json'))
  // A run that is gone on with is told of as it began; the report comes after the tests.
  const given = new Set(Object.keys(options).filter((key) => !(key in LOGS)))
  await runTraining({ ...flagsOf(task), out: folder, resume, report: false }, { ...context, given })
}

function flagsOf({ options }: Task) {
  return TRAIN.parse(options)
}

/** A full disk takes no word either: the error itself is what counts. */
async function leaveWord(folder: string, cause: unknown): Promise<void> {
  const { code, message, hint } = problemOf(cause)
  await writeDurably(failurePath(folder), toJson({ code, message, hint })).catch(() => undefined)
}
