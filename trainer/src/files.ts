/** Files that survive: written beside, synced, renamed. A full disk leaves the old file as it was. */
import { createHash } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { codeOf, TrainError } from './errors.ts'

/**
 * Replaces `path` by `bytes` so that after a crash at any moment it holds either the old content or the new.
 * @throws TrainError `no_space` if the disk is full; the old file stays and nothing is left beside it.
 */
export async function writeDurably(path: string, bytes: Uint8Array | string): Promise<void> {
  const beside = `${path}.${process.pid}.tmp`
  try {
    await mkdir(dirname(path), { recursive: true })
    const file = await open(beside, 'w')
    try {
      await file.writeFile(bytes)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(beside, path)
    await syncFolder(dirname(path))
  } catch (cause) {
    await rm(beside, { force: true })
    throw noSpace(path, cause)
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
