/** `cocoop-train worker`: does the jobs of sweeps that are in a queue, on any machine that shares their folders. */
import { availableParallelism, hostname } from 'node:os'
import type { Job } from 'bullmq'
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { EXECUTOR, requireRedis } from '../executors/choose.ts'
import { startJob } from '../executors/local.ts'
import { openRedis, QUEUE_MS, type QueuedJob, queueId, stopChannel } from '../executors/redis.ts'
import { isDone, readFailure, readJob } from '../sweep/job.ts'

/** How often a job may be taken from a worker that fell silent before it counts as failed. */
const STALLED = 20

export const worker = defineCommand({
  name: 'worker',
  summary: 'Do the jobs of sweeps that are in a queue in Redis',
  details: `For \`--executor bullmq\`. Start one on each machine that sees the sweep's folder and the data at the same paths. Ctrl-C gives the
jobs in hand back to the queue, where another worker goes on with them; so does kill -9, after a while.`,
  flags: z.object({
    redis: EXECUTOR.redis,
    queue: EXECUTOR.queue,
    jobs: z.number().int().min(1).default(1).meta({ description: 'Jobs at a time, which share the cores', short: 'j' }),
  }),
  examples: ['cocoop-train worker --redis redis://head:6379', 'cocoop-train worker --redis redis://head:6379 --jobs 2'],
  run: async (flags, context) => {
    const { jobs } = flags
    const threads = Math.max(1, Math.floor(availableParallelism() / jobs))
    const { bullmq, connect } = await openRedis(requireRedis(flags))
    const connections = [connect(), connect()] as const
    const stops = new EventTarget() // an event for each job that its sweep gave up
    await connections[1].subscribe(stopChannel(flags.queue))
    connections[1].on('message', (_, text) => {
      for (const id of JSON.parse(text) as string[]) stops.dispatchEvent(new Event(id))
    })
    let done = 0
    const work = async (job: Job<QueuedJob>, token?: string) => {
      context.terminal.log(`begin ${job.name}`)
      const end = await doJob(job.data.folder, threads, stops, context.signal)
      if (isDone(await readJob(job.data.folder))) {
        done += 1
        context.terminal.log(`done ${job.name}`)
        return
      }
      if (context.signal.aborted || end.killed) {
        await job.moveToWait(token)
        context.terminal.log(`given back ${job.name}`)
        throw new bullmq.WaitingError()
      }
      const why = end.died ?? (await readFailure(job.data.folder))?.message ?? 'stopped'
      context.terminal.warn(`not done ${job.name}: ${why}`)
      throw new bullmq.UnrecoverableError(why)
    }
    const worker = new bullmq.Worker<QueuedJob>(flags.queue, work, {
      connection: connections[0],
      name: hostname(),
      concurrency: jobs,
      lockDuration: QUEUE_MS.lock,
      stalledInterval: QUEUE_MS.look,
      maxStalledCount: STALLED,
    })
    worker.on('error', (error) => context.terminal.warn(error.message))
    context.terminal.log(`waiting for jobs in ${flags.queue}, ${jobs} at a time, ${threads} threads each`)
    await new Promise<void>((stopped) => {
      if (context.signal.aborted) stopped()
      context.signal.addEventListener('abort', () => stopped())
    })
    await worker.close()
    for (const connection of connections) connection.disconnect()
    return { queue: flags.queue, done }
  },
})

/** Does one job in a process of its own, which is stopped within a batch when the worker is, or when its sweep gives it up. */
async function doJob(folder: string, threads: number, stops: EventTarget, signal: AbortSignal) {
  const { child, ended } = startJob(folder, threads)
  const stop = () => void child.kill('SIGINT')
  const kill = () => void child.kill('SIGKILL')
  const id = queueId(folder)
  stops.addEventListener(id, stop)
  signal.addEventListener('abort', stop)
  process.on('exit', kill)
  try {
    return await ended
  } finally {
    stops.removeEventListener(id, stop)
    signal.removeEventListener('abort', stop)
    process.off('exit', kill)
  }
}
