/** A store in a folder, one file per key. Files are written beside and renamed, so that a reader meets a whole file or none. Node.js only. */
import { randomUUID } from 'node:crypto'
import { access, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { Bytes } from '../engine.ts'
import { CocoopError, messageOf } from '../errors.ts'
import type { Place, Store } from '../store.ts'

const TEMPORARY = '.part'
/** Read at a time by `stream`. */
const CHUNK_BYTES = 1024 * 1024
const KEY = /^[a-z0-9][\w.@-]*(\/[a-z0-9][\w.@-]*)*$/i

export class FsStore implements Store {
  readonly #root: string
  /** `root` need not exist until something is written. */
  constructor(root: string) {
    this.#root = resolve(root)
  }

  async get(key: string): Promise<Bytes | null> {
    const path = this.#file(key)
    return await attempt(path, async () => new Uint8Array(await readFile(path)), null)
  }

  async stream(key: string, place?: Place): Promise<ReadableStream<Uint8Array> | null> {
    const path = this.#file(key)
    const file = await attempt(path, () => open(path, 'r'), null)
    if (!file) return null
    let own: Uint8Array | undefined
    let offset = 0
    return new ReadableStream(
      {
        async pull(controller) {
          try {
            // Read where it is wanted, it is written once, by another thread than this one.
            const room = own ? undefined : place?.(offset)
            if (!room?.length) own ??= new Uint8Array(CHUNK_BYTES)
            const into = own ?? (room as Uint8Array)
            const { bytesRead } = await file.read(into, 0, Math.min(into.length, CHUNK_BYTES))
            if (bytesRead === 0) {
              await file.close()
              return controller.close()
            }
            // A WASM memory that grew meanwhile lies where it lay, and has another buffer.
            const chunk = (own ?? (place as Place)(offset)).subarray(0, bytesRead)
            offset += bytesRead
            controller.enqueue(chunk)
          } catch (cause) {
            await file.close()
            controller.error(new CocoopError('io', `${path}: ${messageOf(cause)}`, { cause }))
          }
        },
        cancel: () => file.close(),
      },
      { highWaterMark: 0 }, // nothing is read before it is asked for: a chunk may be overwritten then
    )
  }

  async put(key: string, value: Uint8Array): Promise<void> {
    const path = this.#file(key)
    const beside = `${path}.${randomUUID()}${TEMPORARY}`
    await attempt(path, async () => {
      await mkdir(dirname(path), { recursive: true })
      try {
        const file = await open(beside, 'wx')
        try {
          await file.writeFile(value)
          await file.sync()
        } finally {
          await file.close()
        }
        await rename(beside, path)
      } catch (error) {
        await rm(beside, { force: true })
        throw error
      }
    })
  }

  async list(prefix: string): Promise<string[]> {
    const paths = await attempt(this.#root, () => readdir(this.#root, { recursive: true, withFileTypes: true }), [])
    const keys = paths
      .filter((entry) => entry.isFile() && !entry.name.endsWith(TEMPORARY))
      .map((entry) =>
        join(entry.parentPath, entry.name)
          .slice(this.#root.length + 1)
          .replaceAll('\\', '/'),
      )
    return keys.filter((key) => key.startsWith(prefix)).sort()
  }

  async delete(key: string): Promise<void> {
    const path = this.#file(key)
    await attempt(path, () => rm(path, { force: true }))
  }

  async path(key: string): Promise<string | null> {
    const path = this.#file(key)
    return await attempt(path, () => access(path).then(() => path), null)
  }

  /** Keys are made of names and hashes; anything that could leave the folder is refused. */
  #file(key: string): string {
    if (!KEY.test(key)) throw new CocoopError('bad_option', `\`${key}\` cannot be a key`)
    return join(this.#root, key)
  }
}

/** `missing` is given back where the file or folder is not there; without it that is an error too. */
async function attempt<T>(path: string, run: () => Promise<T>, ...missing: [T?]): Promise<T> {
  try {
    return await run()
  } catch (cause) {
    if (missing.length > 0 && cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')
      return missing[0] as T
    throw new CocoopError('io', `${path}: ${messageOf(cause)}`, { cause })
  }
}
