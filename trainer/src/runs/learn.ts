/**
 * The epochs of a run, with the engine's state saved at the end of each and when it is stopped:
 * continuing from a state gives the same bits as never having stopped.
 */
import { readFile } from 'node:fs/promises'
import type { Progress, Trainer } from 'cocoop/node'
import type { Context } from '../command.ts'
import { codeOf, TrainError } from '../errors.ts'
import type { RunFolder } from './folder.ts'
import type { Work } from './method.ts'

export interface Learned {
  loss: number
  steps: number
  seconds: number
  images: number
}

/** Runs the epochs that are left; saves the state after each, and when stopped. */
export async function learn(trainer: Trainer, work: Pick<Work, 'run' | 'log' | 'context'>): Promise<Learned> {
  const { run, log, context } = work
  const { terminal, signal } = context
  const { epochs, batches } = trainer.plan
  let { step, loss } = await restore(trainer, run, context)
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
      const report = await trainer.epoch(onProgress, { signal: AbortSignal.any([signal, stop.signal]) })
      if (failure !== undefined) throw failure
      step = report.epoch * batches
      loss = report.loss
      run.metric({ kind: 'epoch', step, ...report })
      log.epoch(report)
      log.saved(await run.saveCheckpoint(step, trainer.state()))
    } catch (cause) {
      if (failure !== undefined) throw failure
      if (codeOf(cause) !== 'cancelled') throw cause
      await run.saveCheckpoint(step, trainer.state())
      terminal.clear()
      throw new TrainError(
        'cancelled',
        `stopped after ${step} of ${epochs * batches} steps; nothing is lost`,
        resumeHint(run),
        { cause },
      )
    }
  }
  const seconds = (performance.now() - started) / 1000
  log.learned(images, seconds)
  return { loss, steps: step, seconds, images }
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
