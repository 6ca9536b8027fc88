/** Which of several processes this one is, by the environment that torchrun sets. */
import { z } from 'zod'
import { TrainError } from '../errors.ts'

/** This process's place among those that train one run together. */
export interface Place {
  /** From 0; 0 leads. */
  rank: number
  world: number
  /** Where rank 0 listens. */
  host: string
  port: number
  /** How long a rank waits for others to join, and for news of one that has, milliseconds. */
  patience: number
}

const whole = (min: number, max: number) => z.coerce.number().int().min(min).max(max)
const WORLD = whole(1, 4096)
const PORT = whole(1, 65_535)
const SECONDS = z.coerce.number().min(1).max(86_400)

/**
 * The place that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT give, or undefined for a process on its own. The port is
 * COCOOP_MASTER_PORT, or the one after MASTER_PORT: on that itself torchrun's own store listens.
 * @throws TrainError `usage` naming the variable
 */
export function placeOf(env: NodeJS.ProcessEnv): Place | undefined {
  if (env.WORLD_SIZE === undefined) return undefined
  const read = (name: string, schema: z.ZodType<number>, fallback?: string): number => {
    const text = env[name] ?? fallback
    const parsed = schema.safeParse(text?.trim() === '' ? undefined : text)
    if (parsed.success) return parsed.data
    const got = text === undefined ? 'it is not set' : `got "${text}"`
    throw new TrainError(
      'usage',
      `${name}: expected a number for a run with WORLD_SIZE ${env.WORLD_SIZE}, ${got}`,
      HELP,
    )
  }
  const world = read('WORLD_SIZE', WORLD)
  if (world === 1) return undefined
  const rank = read('RANK', whole(0, world - 1))
  const port =
    env.COCOOP_MASTER_PORT === undefined ? read('MASTER_PORT', PORT, '29500') + 1 : read('COCOOP_MASTER_PORT', PORT)
  const patience = 1000 * read('COCOOP_RANK_TIMEOUT', SECONDS, '120')
  return { rank, world, host: env.MASTER_ADDR ?? '127.0.0.1', port, patience }
}

const HELP = 'Training by several processes is described in docs/distributed.md; unset WORLD_SIZE to train by one.'
