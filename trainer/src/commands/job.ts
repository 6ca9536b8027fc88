/** `cocoop-train job`: does what is left of one job of a sweep. What the executors start; by hand it is for looking into one. */
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { TrainError } from '../errors.ts'
import { isDone, readJob, stateOf } from '../sweep/job.ts'
import { runJob } from '../sweep/run-job.ts'

export const job = defineCommand({
  name: 'job',
  summary: 'Run one job of a sweep, which its folder describes',
  details: 'Trains or goes on, and makes the tests that are missing; a job that is done is left alone.',
  flags: z.object({
    folder: z
      .string()
      .optional()
      .meta({ description: 'The folder, with its job.json', value: 'FOLDER', positional: true }),
    list: z.string().optional().meta({
      description: 'Take the folders from a line of this file, between tabs: they are run one after the other',
      value: 'FILE',
    }),
    index: z.number().int().min(0).default(0).meta({ description: 'With --list: which line, from 0' }),
  }),
  examples: ['cocoop-train job sweeps/mine/emoji-kinds/coop-16shots-base-seed1'],
  run: async ({ folder, list, index }, context) => {
    if ((folder === undefined) === (list === undefined))
      throw new TrainError('usage', 'job: expected a folder, or --list FILE')
    const folders = list === undefined ? [folder ?? ''] : lineOf(list, index)
    const signal = AbortSignal.any([context.signal, parentGone()])
    let failure: unknown
    for (const path of folders) {
      try {
        if (!isDone(await readJob(path))) await runJob(path, { ...context, signal })
      } catch (cause) {
        failure ??= cause // the others of the line are not to blame
        if (signal.aborted) throw cause
      }
    }
    if (failure !== undefined) throw failure
    const jobs = await Promise.all(folders.map(async (path) => ({ folder: path, state: stateOf(await readJob(path)) })))
    for (const { folder, state } of jobs) context.print(`${folder}: ${state}`)
    return { jobs }
  },
})

function lineOf(list: string, index: number): string[] {
  const line = readFileSync(list, 'utf8').split('\n')[index]
  if (!line) throw new TrainError('usage', `${list} has no line ${index}`)
  return line.split('\t')
}

/** Aborted when the process that started this one is gone, even if it was killed: nobody would hear of the result. */
function parentGone(): AbortSignal {
  const controller = new AbortController()
  if (process.channel === undefined) return controller.signal
  if (process.connected === false) controller.abort()
  process.once('disconnect', () => controller.abort())
  process.channel.unref() // it does not keep a process that is done
  return controller.signal
}
