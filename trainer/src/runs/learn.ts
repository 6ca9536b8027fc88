/**
 * The epochs of a run, with the engine's state saved at the end of each and when it is stopped:
 * continuing from a state gives the same bits as never having stopped.
 */
import { readFile } from 'node:fs/promises'
import { messageOf, type Progress, type Trainer } from 'cocoop/node'
import type { Context } from '../command.ts'
import { claimOf } from '../distributed/claim.ts'
import { codeOf, TrainError } from '../errors.ts'
import type { RunFolder } from './folder.ts'
import type { Work } from './method.ts'

export interface Learned {
  loss: number
  steps: number
  seconds: number
  images: number
}

/** Stops that the run can go on after: the state is saved where they met it. */
const STOPS: ReadonlySet<string> = new Set(['cancelled', 'rank_lost'])

/**
 * Runs the epochs that are left, with the other ranks where there are any; saves the state after each, and when stopped.
 * @throws TrainError `cancelled`, `rank_lost`, `diverged` with the checkpoint that was saved
 */
export async function learn(trainer: Trainer, work: Work): Promise<Learned> {
  const { run, log, context, leader } = work
  const { terminal, signal } = context
  const { epochs, batches } = trainer.plan
  let { step, loss } = await restore(trainer, run, context)
  await leader?.begin(work.options, claimOf(work.options, work.data.classnames, work.config), trainer.state(), signal)
  log.start(trainer.plan, step)
  const started = performance.now()
  let images = 0
  // A callback of the engine cannot throw: a full disk is remembered, stops the epoch and is thrown from here.
  const stop = new AbortController()
  let failure: unknown
  const onProgress = (event: Progress) => {
    step = (event.epoch - 1) * batches + event.batch
    images += event.images
    try {
      log.batch(event)
      run.metric({ kind: 'step', step, ...event })
    } catch (cause) {
      failure ??= cause
      stop.abort()
    }
  }
  while (step < epochs * batches) {
    try {
      const any = { signal: AbortSignal.any([signal, stop.signal]) }
      const report = await (leader?.epoch(trainer, onProgress, any) ?? trainer.epoch(onProgress, any))
      if (failure !== undefined) throw failure
      step = report.epoch * batches
      loss = report.loss
      run.metric({ kind: 'epoch', step, ...report })
      log.epoch(report)
      log.saved(await run.saveCheckpoint(step, trainer.state()))
    } catch (cause) {
      if (failure !== undefined) throw failure
      const code = codeOf(cause)
      if (code === 'diverged') throw await diverged(cause, trainer, work)
      if (!STOPS.has(code)) throw cause
      await run.saveCheckpoint(step, trainer.state())
      terminal.clear()
      const why = cause instanceof TrainError ? `${cause.message}; ` : ''
      throw new TrainError(
        code,
        `${why}stopped after ${step} of ${epochs * batches} steps; nothing is lost`,
        resumeHint(run),
        { cause },
      )
    }
  }
  const seconds = (performance.now() - started) / 1000
  log.learned(images, seconds)
  return { loss, steps: step, seconds, images }
}

/** Saves the last good state, at which the engine stands now, and says where it is; later ones are part of what went wrong. */
async function diverged(cause: unknown, trainer: Trainer, { run, options, context }: Work): Promise<TrainError> {
  const { epoch, batch } = trainer.position
  const step = epoch * trainer.plan.batches + batch
  await run.forgetCheckpoints(step)
  const path = await run.saveCheckpoint(step, trainer.state())
  context.terminal.clear()
  return new TrainError(
    'diverged',
    `${messageOf(cause)}; the last good state, after step ${step}, is ${path}`,
    `Start a new run with a lower --lr (it was ${options.lr}) or more --warmup-epochs (${options.warmup_epochs}).`,
    { cause },
  )
}

/** Continues from the newest readable state, and from the start where there is none. */
async function restore(
  trainer: Trainer,
  run: RunFolder,
  { terminal }: Context,
): Promise<{ step: number; loss: number }> {
  for (const { step, path } of await run.checkpoints()) {
    try {
      trainer.restore(await readFile(path))
    } catch (cause) {
      if (codeOf(cause) !== 'bad_checkpoint') throw cause
      terminal.warn(
        `${path} cannot be read (${cause instanceof Error ? cause.message : cause}); trying the one before it`,
      )
      continue
    }
    const loss = await run.trimMetrics(step)
    return { step, loss }
  }
  return { step: 0, loss: await run.trimMetrics(0) }
}

/** What to type to go on with a run that was stopped. */
export function resumeHint(run: RunFolder): string {
  return `Go on with: cocoop-train train --resume --out ${run.path}`
}
