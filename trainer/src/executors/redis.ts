/** The queue of jobs in Redis: BullMQ and its driver, which are loaded only when a queue is wanted. */
import type * as Bullmq from 'bullmq'
import type { Redis } from 'ioredis'
import { TrainError } from '../errors.ts'
import { sha256 } from '../files.ts'

/** What a job in the queue says: the job itself lies in its folder, which all machines share. */
export interface QueuedJob {
  folder: string
}

/** BullMQ, and connections to one Redis. */
export interface Opened {
  bullmq: Pick<typeof Bullmq, 'Queue' | 'Worker' | 'WaitingError' | 'UnrecoverableError'>
  connect: () => Redis
}

/** Times of the queue: a worker that was silent for `lock` has lost its job, which is looked for every `look`. */
export const QUEUE_MS = { lock: 20_000, look: 10_000 }
const CONNECT_MS = 5000

/**
 * BullMQ, and a function that opens connections to the Redis of `url`.
 * @throws TrainError `not_found` if the packages are not installed; `queue_unavailable` if there is no Redis
 */
export async function openRedis(url: string): Promise<Opened> {
  const [bullmq, ioredis] = await load()
  const connect = () => {
    const redis = new ioredis.Redis(url, { maxRetriesPerRequest: null, lazyConnect: true, connectTimeout: CONNECT_MS })
    redis.on('error', () => {}) // it connects again by itself; what was asked waits
    return redis
  }
  await ping(connect(), url)
  return { bullmq, connect }
}

/** A job's id in the queue: a job that is there already is not put in twice. */
export function queueId(folder: string): string {
  return sha256(Buffer.from(folder)).slice(0, 32)
}

/** Where a sweep that is stopped tells the workers which jobs to leave. */
export function stopChannel(queue: string): string {
  return `cocoop:stop:${queue}`
}

/** @throws TrainError `queue_unavailable` */
async function ping(redis: Redis, url: string): Promise<void> {
  try {
    let why = 'no answer'
    redis.on('error', (error) => {
      why = error.message
    })
    const timer = AbortSignal.timeout(CONNECT_MS)
    const silent = new Promise<never>((_, fail) => {
      timer.addEventListener('abort', () => fail(new Error(why)))
    })
    await Promise.race([redis.connect().then(() => redis.ping()), silent])
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new TrainError('queue_unavailable', `there is no Redis at ${withoutPassword(url)}: ${why}`, undefined, {
      cause,
    })
  } finally {
    redis.disconnect()
  }
}

async function load() {
  try {
    return await Promise.all([import('bullmq'), import('ioredis')])
  } catch (cause) {
    throw new TrainError(
      'not_found',
      'a queue needs the packages bullmq and ioredis, which are not installed',
      '`npm install bullmq ioredis` beside cocoop-train, on each machine.',
      { cause },
    )
  }
}

function withoutPassword(url: string): string {
  return URL.canParse(url) ? new URL(url).host : 'that address'
}
