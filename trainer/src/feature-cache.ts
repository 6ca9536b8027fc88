/**
 * Features that were computed before, on disk. A file is named by the hash of everything that its numbers depend on and begins with the hash
 * of its content: a damaged one reads as missing and is written again. What was used least recently goes when the folder grows too large.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile, rm, stat, utimes } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Engine, EngineModel } from 'cocoop/node'
import { z } from 'zod'
import type { Context } from './command.ts'
import { codeOf } from './errors.ts'
import { FileBeside, sha256 } from './files.ts'

/** The flag of every command that keeps features. */
export const CACHE = {
  cache: z.boolean().default(true).meta({
    description: 'Compute all features anew; keep none on disk (COCOOP_CACHE moves the folder, ~/.cache/cocoop)',
    env: 'COCOOP_FEATURE_CACHE',
  }),
}

const MAX_BYTES = 1_000_000_000
const HASH_BYTES = 32
const SUFFIX = '.features'

/** Rows of features and what was noted beside them. */
export interface Entry {
  note: unknown
  features: Float32Array
}

export interface CacheOptions {
  engine: Pick<Engine, 'name' | 'version'>
  model: Pick<EngineModel, 'info'>
  terminal: Context['terminal']
  /** False: nothing is found and nothing kept. */
  enabled: boolean
  folder?: string
  maxBytes?: number
}

/** The cache of one model on one engine. */
export class FeatureCache {
  readonly #options: Required<CacheOptions>
  #works: boolean
  #told = false

  constructor(options: CacheOptions) {
    this.#options = { folder: join(cacheFolder(), 'features'), maxBytes: MAX_BYTES, ...options }
    this.#works = options.enabled
  }

  /** What was kept under `key`, any JSON. What cannot be used is computed again, and said to be. */
  async get(key: unknown): Promise<Entry | undefined> {
    if (!this.#works) return undefined
    const path = this.#path(key)
    const file = await readFile(path).catch(() => undefined)
    if (file === undefined) {
      await this.#tellOfOthers(key)
      return undefined
    }
    const entry = parse(file)
    if (entry === undefined) this.#options.terminal.warn(`${path} is damaged: its features are computed again`)
    else await utimes(path, new Date(), new Date()).catch(() => undefined) // another process may have removed it
    return entry
  }

  /** Keeps `entry`. A cache that cannot be written is a warning, never an error. */
  async put(key: unknown, entry: Entry): Promise<void> {
    if (!this.#works) return
    const pieces = format(entry)
    if (pieces.reduce((sum, { length }) => sum + length, 0) > this.#options.maxBytes) return
    try {
      await using file = await FileBeside.open(this.#path(key))
      for (const piece of pieces) await file.write(piece)
      await file.commit()
      await this.#trim()
    } catch (cause) {
      this.#works = false
      this.#options.terminal.warn(`features are not kept in ${this.#options.folder}: ${messageOf(cause)}`)
    }
  }

  /** Named by what it is of, and by what made it. */
  #path(key: unknown): string {
    const { engine, model, folder } = this.#options
    const maker = ['cocoop-features-1', model.info.sha256, engine.name, engine.version(), process.arch]
    return join(folder, `${hashOf(key)}-${hashOf(maker)}${SUFFIX}`)
  }

  /** Says, once, that there are features of the same which are not this model's. */
  async #tellOfOthers(key: unknown): Promise<void> {
    if (this.#told) return
    const names = await readdir(this.#options.folder).catch(() => [])
    if (!names.some((name) => name.startsWith(`${hashOf(key)}-`))) return
    this.#told = true
    this.#options.terminal.log('the cache has these features of another model or version: they are computed anew')
  }

  /** Removes the files that were used least recently until the folder fits; another process may be doing the same. */
  async #trim(): Promise<void> {
    const { folder, maxBytes } = this.#options
    const names = (await readdir(folder)).filter((name) => name.endsWith(SUFFIX))
    const files = await Promise.all(
      names.map(async (name) => {
        const path = join(folder, name)
        const found = await stat(path).catch(() => undefined)
        return { path, bytes: found?.size ?? 0, used: found?.mtimeMs ?? 0 }
      }),
    )
    let total = files.reduce((sum, { bytes }) => sum + bytes, 0)
    for (const { path, bytes } of files.sort((a, b) => a.used - b.used)) {
      if (total <= maxBytes) return
      await rm(path, { force: true })
      total -= bytes
    }
  }
}

/** Where this project keeps what can be made again. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  return env.COCOOP_CACHE || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'cocoop')
}

/** SHA-256 of what follows; length of the note and the note (JSON, filled with spaces to a multiple of 4); f32, little-endian. */
function format({ note, features }: Entry): Uint8Array[] {
  const text = JSON.stringify(note)
  const json = Buffer.from(text + ' '.repeat((4 - (Buffer.byteLength(text) % 4)) % 4))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(json.length)
  const rest = [length, json, Buffer.from(features.buffer, features.byteOffset, features.byteLength)]
  const hash = createHash('sha256')
  for (const piece of rest) hash.update(piece)
  return [hash.digest(), ...rest]
}

function parse(file: Buffer): Entry | undefined {
  const rest = file.subarray(HASH_BYTES)
  if (rest.length < 4 || sha256(rest) !== file.toString('hex', 0, HASH_BYTES)) return undefined
  const start = 4 + rest.readUInt32LE()
  const features = new Float32Array(rest.buffer, rest.byteOffset + start, (rest.length - start) / 4)
  return { note: JSON.parse(rest.toString('utf8', 4, start)), features }
}

function hashOf(value: unknown): string {
  return sha256(Buffer.from(JSON.stringify(value))).slice(0, 40)
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : codeOf(cause)
}
