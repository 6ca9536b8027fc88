/** What must be equal on every rank for their gradients to be of one run. */
import { isDeepStrictEqual } from 'node:util'
import type { TrainSpec } from 'cocoop/node'
import { TrainError } from '../errors.ts'
import type { Config } from '../runs/config.ts'
import { type TrainOptions, trainSpec } from '../runs/options.ts'
import { VERSION } from '../version.ts'

/** A run by what decides its bits. */
export type Claim = TrainSpec & { version: string; images: string; model: string }

/** The claim of a run with these options on this data. */
export function claimOf(
  options: TrainOptions,
  classnames: string[],
  { data, model }: Pick<Config, 'data' | 'model'>,
): Claim {
  return { version: VERSION, ...trainSpec(options, classnames), images: data.fingerprint, model: model.sha256 }
}

/** @throws TrainError `usage` naming the first thing in which `theirs` differs */
export function sameRun(who: string, ours: Claim, theirs: unknown): void {
  const other: Record<string, unknown> = typeof theirs === 'object' && theirs !== null ? { ...theirs } : {}
  for (const [key, value] of Object.entries(ours)) {
    if (isDeepStrictEqual(value, other[key])) continue
    const [a, b] = [other[key], value].map((one) => (JSON.stringify(one) ?? 'nothing').slice(0, 80))
    throw new TrainError(
      'usage',
      `${who} would train another run: ${key} is ${a}, on rank 0 it is ${b}`,
      'Start all ranks with the same options, version, images and model.',
    )
  }
}

/** @throws TrainError `usage` for a method whose work is not shared */
export function needsLearning(method: TrainOptions['method']): void {
  if (method === 'coop' || method === 'cocoop') return
  throw new TrainError('usage', `--method ${method} is the work of one process`, 'Unset WORLD_SIZE.')
}
