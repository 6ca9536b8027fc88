/**
 * One file over HTTP into one file on disk: goes on where an earlier attempt stopped, waits and tries again when the
 * server or the network fails, and gives the file its name only when its hash is right.
 */
import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOf, TrainError } from '../errors.ts'
import { noSpace } from '../files.ts'

/** What is known of a file before it is fetched. */
export interface Wanted {
  /** Must always stand for the same bytes: a file of one commit. */
  url: string
  /** Where the file goes; until it is complete it is `${path}.incomplete`. */
  path: string
  bytes: number
  /** Of the content: its SHA-256 (large files), or git's name for a blob (small ones). */
  hash: { kind: 'sha256' | 'git'; hex: string }
}

export interface DownloadOptions {
  headers?: Record<string, string>
  signal: AbortSignal
  /** Told how many bytes are there, also those of earlier attempts. */
  onBytes?: (bytes: number) => void
  /** Of the waits between attempts: times a power of two. */
  baseMs?: number
}

/** Attempts in a row that bring nothing. */
const ATTEMPTS = 5

/**
 * Fetches a file, or the rest of it.
 * @throws TrainError `hub_refused`, `not_found`, `hub_unavailable`, `hash_mismatch`, `no_space`; an AbortError when stopped:
 * what has come stays and is used the next time.
 */
export async function download(wanted: Wanted, options: DownloadOptions): Promise<void> {
  const { path, bytes } = wanted
  const beside = `${path}.incomplete`
  await mkdir(dirname(path), { recursive: true })
  const part = await Part.open(beside, wanted)
  try {
    options.onBytes?.(part.length)
    let etag: string | undefined
    for (let failures = 0; part.length < bytes; ) {
      const before = part.length
      const got = await attempt(wanted, part, etag, options)
      etag = got.etag
      if (part.length >= bytes) break
      failures = part.length > before ? 1 : failures + 1
      if (failures >= ATTEMPTS) throw unavailable(wanted.url, got.why)
      const wait = Math.max((options.baseMs ?? 500) * 2 ** (failures - 1), got.retryAfterMs)
      await sleep(wait, undefined, { signal: options.signal })
    }
    await part.sync()
  } catch (cause) {
    throw noSpace(path, cause)
  } finally {
    await part.close()
  }
  const got = part.digest()
  if (part.length !== bytes || got !== wanted.hash.hex) {
    await rm(beside, { force: true })
    const message = `${wanted.url} is damaged: expected ${wanted.hash.hex} (${bytes} bytes), got ${got} (${part.length} bytes)`
    throw new TrainError('hash_mismatch', message, 'Run the same command again; the damaged file is deleted.')
  }
  await rename(beside, path)
}

/** What an attempt that did not bring the whole file leaves for the next. */
interface Attempt {
  why: string
  etag?: string | undefined
  retryAfterMs: number
}

async function attempt(
  { url, bytes }: Wanted,
  part: Part,
  etag: string | undefined,
  { headers, signal, onBytes }: DownloadOptions,
): Promise<Attempt> {
  const range = part.length === 0 ? {} : { range: `bytes=${part.length}-`, ...(etag ? { 'if-range': etag } : {}) }
  let why = 'the connection was closed too early'
  let seen = etag
  try {
    const response = await fetch(url, { headers: { 'accept-encoding': 'identity', ...headers, ...range }, signal })
    const { status } = response
    if (status !== 200 && status !== 206) {
      await response.body?.cancel()
      if (status === 416) await part.restart()
      else if (!isTransient(status)) throw refused(url, status)
      return { why: `status ${status}`, etag, retryAfterMs: retryAfter(response) }
    }
    const from = status === 206 ? Number(/^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1]) : 0
    if (from !== part.length) await part.restart()
    if (from !== 0 && part.length === 0) {
      await response.body?.cancel()
      return { why: 'another range than the one asked for', retryAfterMs: 0 }
    }
    const strong = response.headers.get('etag')
    seen = strong?.startsWith('"') ? strong : undefined
    for await (const chunk of response.body ?? []) {
      if (part.length + chunk.length > bytes) throw tooLong(url, bytes)
      await part.append(chunk)
      onBytes?.(part.length)
    }
  } catch (cause) {
    if (signal.aborted || cause instanceof TrainError || codeOf(cause) !== 'internal') throw cause
    why = reasonOf(cause)
  }
  return { why, etag: seen, retryAfterMs: 0 }
}

/** The bytes that are there, on disk and in the hash. */
class Part {
  length = 0
  readonly #file: FileHandle
  readonly #start: () => Hash
  #hash: Hash

  private constructor(file: FileHandle, start: () => Hash) {
    this.#file = file
    this.#start = start
    this.#hash = start()
  }

  static async open(path: string, { bytes, hash }: Wanted): Promise<Part> {
    const start = () => (hash.kind === 'sha256' ? createHash('sha256') : createHash('sha1').update(`blob ${bytes}\0`))
    const part = new Part(await open(path, 'a'), start)
    const { size } = await stat(path)
    if (size > bytes) await part.restart()
    else if (size > 0) {
      for await (const chunk of createReadStream(path)) part.#hash.update(chunk as Buffer)
      part.length = size
    }
    return part
  }

  async append(chunk: Uint8Array): Promise<void> {
    await this.#file.writeFile(chunk)
    this.#hash.update(chunk)
    this.length += chunk.length
  }

  async restart(): Promise<void> {
    await this.#file.truncate(0)
    this.#hash = this.#start()
    this.length = 0
  }

  digest(): string {
    return this.#hash.digest('hex')
  }

  sync(): Promise<void> {
    return this.#file.sync()
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

/** Whether the same request may succeed later. */
export function isTransient(status: number): boolean {
  return status === 408 || status === 429 || status >= 500
}

/** Seconds, or 0 where the server does not say how long to wait; at most a minute. */
export function retryAfter(response: Response): number {
  const seconds = Number(response.headers.get('retry-after') ?? 0)
  return Number.isFinite(seconds) ? Math.min(60, Math.max(0, seconds)) * 1000 : 0
}

/** What the hub said no to. */
export function refused(url: string, status: number): TrainError {
  const token = 'Set HF_TOKEN to a token that may read it; a gated model must first be agreed to on its page.'
  if (status === 401 || status === 403) return new TrainError('hub_refused', `${url}: status ${status}`, token)
  if (status === 404) return new TrainError('not_found', `${url} does not exist`, 'Check the name and the revision.')
  return new TrainError('hub_unavailable', `${url}: status ${status}`)
}

export function unavailable(url: string, why: string): TrainError {
  return new TrainError('hub_unavailable', `${url}: ${why}, ${ATTEMPTS} times in a row`)
}

function tooLong(url: string, bytes: number): TrainError {
  return new TrainError('hash_mismatch', `${url} is longer than the ${bytes} bytes it should have`)
}

/** Node's fetch hides the reason in the cause. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error && error.cause.message !== '' ? error.cause.message : error.message
}
