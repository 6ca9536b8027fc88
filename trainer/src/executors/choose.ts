/** The flags that say where jobs are run, and the executor that they choose. */
import { z } from 'zod'
import { TrainError } from '../errors.ts'
import { DEFAULT_MODEL } from '../models.ts'
import type { Job } from '../sweep/job.ts'
import { BullmqExecutor } from './bullmq.ts'
import type { Executor } from './executor.ts'
import { defaultJobs, LocalExecutor } from './local.ts'
import { SlurmExecutor } from './slurm.ts'

export const EXECUTOR = {
  executor: z
    .enum(['local', 'slurm', 'bullmq'])
    .default('local')
    .meta({ description: 'Processes of this machine, a SLURM array, or workers of a queue in Redis' }),
  jobs: z.number().int().min(1).optional().meta({
    description: 'Jobs at a time (default: as fits cores and memory; slurm: as the cluster allows)',
    short: 'j',
  }),
  slurm_args: z
    .array(z.string())
    .default([])
    .meta({ description: 'An argument for sbatch, such as --partition=cpu', value: 'ARG' }),
  slurm_chunk: z
    .number()
    .int()
    .min(1)
    .default(1)
    .meta({ description: 'Jobs in one task of the array, one after the other' }),
  slurm_cancel: z
    .boolean()
    .default(false)
    .meta({ description: 'Ctrl-C cancels the array; otherwise it goes on, and the same command waits for it again' }),
  redis: z
    .string()
    .optional()
    .meta({ description: 'Redis of the queue (bullmq), redis://HOST:PORT', value: 'URL', env: 'COCOOP_REDIS' }),
  queue: z.string().default('cocoop').meta({ description: 'Name of the queue (bullmq)', value: 'NAME' }),
}
export type ExecutorFlags = z.output<z.ZodObject<typeof EXECUTOR>>

/**
 * @param folder the sweep's
 * @param jobs what is left to do
 */
export async function chooseExecutor(flags: ExecutorFlags, folder: string, jobs: readonly Job[]): Promise<Executor> {
  if (flags.executor === 'slurm') {
    const { jobs, slurm_args: args, slurm_chunk: chunk, slurm_cancel: cancel } = flags
    return new SlurmExecutor({ folder, jobs, args, chunk, cancel })
  }
  if (flags.executor === 'bullmq') return new BullmqExecutor({ redis: requireRedis(flags), queue: flags.queue })
  const models = new Set(jobs.map(({ options }) => options.model ?? DEFAULT_MODEL))
  const wanted = flags.jobs ?? (await defaultJobs([...models]))
  return new LocalExecutor(Math.max(1, Math.min(wanted, jobs.length)))
}

/** @throws TrainError `usage` */
export function requireRedis({ redis }: { redis?: string | undefined }): string {
  if (redis !== undefined) return redis
  throw new TrainError(
    'usage',
    '--redis is missing',
    'Such as --redis redis://localhost:6379; COCOOP_REDIS does as well.',
  )
}
