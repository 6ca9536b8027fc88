/**
 * Jobs as a queue in Redis, done by `cocoop-train worker` on any machine that sees the same folders at the same paths.
 * BullMQ gives the job of a worker that was killed to another one; what the folder says is what counts here, too.
 */
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { JobType, Queue } from 'bullmq'
import { isDone, readFailure, type Task } from '../sweep/job.ts'
import { type Executor, type Running, settled } from './executor.ts'
import { openRedis, type QueuedJob, queueId, stopChannel } from './redis.ts'

const POLL_MS = 500
const STOP_MS = 60_000
/** Without a worker for so long, it is said that one is wanted. */
const LONELY_MS = 5000
const IN_QUEUE: JobType[] = ['active', 'waiting', 'delayed', 'prioritized']

export interface BullmqOptions {
  redis: string
  /** The queue's name. */
  queue: string
}

export class BullmqExecutor implements Executor {
  readonly #options: BullmqOptions

  constructor(options: BullmqOptions) {
    this.#options = options
  }

  describe(): string {
    return `queue ${this.#options.queue} in Redis`
  }

  async run(tasks: readonly Task[], running: Running): Promise<void> {
    const { bullmq, connect } = await openRedis(this.#options.redis)
    const redis = connect()
    const queue = new bullmq.Queue<QueuedJob>(this.#options.queue, { connection: redis })
    queue.on('error', () => {}) // the driver connects again
    try {
      const waiting = new Map(tasks.map((task) => [queueId(resolve(task.folder)), task]))
      for (const [jobId, task] of waiting) {
        const data = { folder: resolve(task.folder) }
        // Nothing stays in the queue of a job that ended: its folder knows how.
        await queue.add(task.name, data, { jobId, removeOnComplete: true, removeOnFail: true })
      }
      await this.#wait(queue, waiting, running)
      if (running.signal.aborted && waiting.size > 0) {
        await this.#stop(queue, waiting, (ids) => redis.publish(stopChannel(this.#options.queue), JSON.stringify(ids)))
      }
    } finally {
      await queue.close()
      redis.disconnect()
    }
  }

  /** Takes the jobs that ended out of `waiting`; settles when none is left or the sweep is stopped. */
  async #wait(queue: Queue<QueuedJob>, waiting: Map<string, Task>, running: Running): Promise<void> {
    const begun = new Set<string>()
    let lonely = performance.now()
    while (waiting.size > 0 && !running.signal.aborted) {
      const [active, rest] = [await idsIn(queue, ['active']), await idsIn(queue, IN_QUEUE)]
      for (const [id, task] of waiting) {
        if (active.has(id) && !begun.has(id)) {
          begun.add(id)
          running.started(task)
        }
        if (rest.has(id)) continue
        waiting.delete(id)
        await settled(task)
        const word = isDone(task) || (await readFailure(task.folder)) !== undefined
        running.ended(task, word ? undefined : 'it was in the hands of workers that ended without a word')
      }
      if (active.size > 0 || (await queue.getWorkersCount()) > 0) lonely = performance.now()
      if (performance.now() - lonely > LONELY_MS) {
        running.terminal.log(`no worker yet: \`cocoop-train worker --redis URL --queue ${queue.name}\` starts one`)
        lonely = Number.POSITIVE_INFINITY // said once
      }
      await sleep(POLL_MS, undefined, { signal: running.signal }).catch(() => undefined)
    }
  }

  /** Nothing new is begun, and who works on one of the jobs is asked to stop. */
  async #stop(
    queue: Queue<QueuedJob>,
    waiting: Map<string, Task>,
    tell: (ids: string[]) => Promise<unknown>,
  ): Promise<void> {
    const ids = [...waiting.keys()]
    for (const id of ids) await queue.remove(id).catch(() => 0) // one that a worker has is its own
    await tell(ids)
    const end = performance.now() + STOP_MS
    const left = async () => [...(await idsIn(queue, ['active']))].some((id) => waiting.has(id))
    while (performance.now() < end && (await left())) await sleep(POLL_MS)
  }
}

async function idsIn(queue: Queue<QueuedJob>, states: JobType[]): Promise<Set<string>> {
  return new Set((await queue.getJobs(states)).flatMap((job) => job?.id ?? []))
}
