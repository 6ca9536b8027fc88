/** Files that survive: written beside, synced, renamed. A full disk leaves the old file as it was. */
import { createHash } from 'node:crypto'
import { type FileHandle, mkdir, open, readFile, rename, rm, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { codeOf, TrainError } from './errors.ts'

/**
 * Replaces `path` by `bytes` so that after a crash at any moment it holds either the old content or the new.
 * @throws TrainError `no_space` if the disk is full; the old file stays and nothing is left beside it.
 */
export async function writeDurably(path: string, bytes: Uint8Array | string): Promise<void> {
  await using file = await FileBeside.open(path)
  await file.write(bytes)
  await file.commit()
}

/** A file that is written piece by piece beside `path` and takes its name when it is whole. What is not committed is removed. */
export class FileBeside implements AsyncDisposable {
  readonly #path: string
  readonly #beside: string
  readonly #file: FileHandle

  private constructor(path: string, beside: string, file: FileHandle) {
    this.#path = path
    this.#beside = beside
    this.#file = file
  }

  /** Makes the folder too, where it is missing. */
  static async open(path: string): Promise<FileBeside> {
    const beside = `${path}.${process.pid}.tmp`
    try {
      await mkdir(dirname(path), { recursive: true })
      return new FileBeside(path, beside, await open(beside, 'w'))
    } catch (cause) {
      throw noSpace(path, cause)
    }
  }

  /** Writes at the end. */
  async write(bytes: Uint8Array | string): Promise<void> {
    await this.#try(() => this.#file.writeFile(bytes))
  }

  /** Replaces the first bytes of what was written. */
  async rewriteStart(bytes: Uint8Array): Promise<void> {
    await this.#try(async () => {
      for (let at = 0; at < bytes.length; )
        at += (await this.#file.write(bytes, at, bytes.length - at, at)).bytesWritten
    })
  }

  /** Everything is written: syncs, renames, closes. */
  async commit(): Promise<void> {
    await this.#try(async () => {
      await this.#file.sync()
      await this.#file.close()
      await rename(this.#beside, this.#path)
      await syncFolder(dirname(this.#path))
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close() // a second time does nothing
    await rm(this.#beside, { force: true }) // nothing is there after a commit
  }

  async #try(run: () => Promise<void>): Promise<void> {
    try {
      await run()
    } catch (cause) {
      throw noSpace(this.#path, cause)
    }
  }
}

/** Says which file did not fit, for an error of a full disk; other errors pass. */
export function noSpace(path: string, cause: unknown): unknown {
  if (codeOf(cause) !== 'no_space' || cause instanceof TrainError) return cause
  const message = `the disk is full: ${path} could not be written; what was there before is unchanged`
  return new TrainError('no_space', message, undefined, { cause })
}

/** The value of a JSON file, or `undefined` where there is none. */
export async function readJson(path: string): Promise<unknown> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if (codeOf(cause) === 'not_found') return undefined
    throw cause
  }
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new TrainError('bad_data', `${path} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
}

/** JSON as this project writes it to disk. */
export function toJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

/** Lower-case hexadecimal SHA-256. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Free bytes on the disk of `path`, which may not exist yet. */
export async function freeBytes(path: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(path)
    return bavail * bsize
  } catch (cause) {
    if (codeOf(cause) !== 'not_found' || dirname(path) === path) throw cause
    return freeBytes(dirname(path))
  }
}

/** A rename is on disk only when its folder is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
