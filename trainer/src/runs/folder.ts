/**
 * The folder of one training run: config.json, log.txt, metrics.jsonl, checkpoints/, result.json, bundle.safetensors.
 * Whatever moment a run is killed at, its folder holds a state from which it goes on to the same bits.
 */
import { appendFileSync, closeSync, existsSync, openSync, writeSync } from 'node:fs'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { TrainError } from '../errors.ts'
import { noSpace, readJson, toJson, writeDurably } from '../files.ts'
import { lockFolder } from '../lock.ts'

/** Checkpoints that are kept: the newest, and the one before it in case the newest cannot be read. */
const KEEP = 2

/** A saved state; `step` is the number of batches done. */
export interface Checkpoint {
  step: number
  path: string
}

export class RunFolder implements Disposable {
  readonly path: string
  readonly #unlock: () => void
  #metrics: number | undefined

  private constructor(path: string, unlock: () => void) {
    this.path = path
    this.#unlock = unlock
  }

  /**
   * A new run's folder, locked.
   * @throws TrainError `exists` if it holds a run already: nothing is ever resumed or overwritten unasked.
   */
  static async create(path: string): Promise<RunFolder> {
    await mkdir(path, { recursive: true })
    const run = new RunFolder(path, lockFolder(path))
    if (!existsSync(run.file('config.json'))) return run
    run[Symbol.dispose]()
    throw new TrainError('exists', `${path} already holds a run`, 'Go on with it by --resume, or choose another --out.')
  }

  /**
   * The folder of a run that was begun, locked.
   * @throws TrainError `not_found` if there is none.
   */
  static open(path: string): RunFolder {
    if (existsSync(join(path, 'config.json'))) return new RunFolder(path, lockFolder(path))
    throw new TrainError('not_found', `${path} holds no run`, 'Leave --resume out to start one.')
  }

  /** The path of a file in the folder. */
  file(name: string): string {
    return join(this.path, name)
  }

  /** Adds a line to log.txt; with the time unless it has to be read by the original's scripts. */
  log(line: string, { time = true } = {}): void {
    this.#guard('log.txt', (path) => appendFileSync(path, `${time ? `${new Date().toISOString()} ` : ''}${line}\n`))
  }

  /** Adds a line to metrics.jsonl; it is with the operating system when this returns, so a kill does not lose it. */
  metric(record: { step: number; [name: string]: unknown }): void {
    this.#guard('metrics.jsonl', (path) => {
      this.#metrics ??= openSync(path, 'a')
      writeSync(this.#metrics, `${JSON.stringify(record)}\n`)
    })
  }

  /** Writes one of the folder's JSON files, durably. */
  async writeJson(name: string, value: unknown): Promise<void> {
    await writeDurably(this.file(name), toJson(value))
  }

  /** The value of one of the folder's JSON files. */
  readJson(name: string): Promise<unknown> {
    return readJson(this.file(name))
  }

  /** Saves the state after `step` batches, then removes all but the newest two. Returns its path. */
  async saveCheckpoint(step: number, state: Uint8Array): Promise<string> {
    const saved = this.file(`checkpoints/step-${String(step).padStart(9, '0')}.state`)
    await writeDurably(saved, state)
    const [, ...old] = await this.checkpoints()
    for (const { path } of old.slice(KEEP - 1)) await rm(path, { force: true })
    return saved
  }

  /** The saved states, newest first. */
  async checkpoints(): Promise<Checkpoint[]> {
    await mkdir(this.file('checkpoints'), { recursive: true })
    const names = await readdir(this.file('checkpoints'))
    const states = names.filter((name) => /^step-\d+\.state$/.test(name)).sort()
    return states.reverse().map((name) => ({ step: Number(name.slice(5, -6)), path: this.file(`checkpoints/${name}`) }))
  }

  /** Removes the states after `step`. */
  async forgetCheckpoints(step: number): Promise<void> {
    for (const later of await this.checkpoints()) if (later.step > step) await rm(later.path, { force: true })
  }

  /** Forgets the metrics after `step`, which the resumed run writes again. Returns the loss in the last line that stays, or NaN. */
  async trimMetrics(step: number): Promise<number> {
    if (!existsSync(this.file('metrics.jsonl'))) return Number.NaN
    const lines = (await readFile(this.file('metrics.jsonl'), 'utf8')).split('\n')
    const kept = lines.slice(
      0,
      lines.findIndex((line) => !(read(line).step <= step)),
    )
    await writeDurably(this.file('metrics.jsonl'), kept.map((line) => `${line}\n`).join(''))
    return read(kept.at(-1) ?? '').loss
  }

  /** Gives the folder free for others. */
  [Symbol.dispose](): void {
    if (this.#metrics !== undefined) closeSync(this.#metrics)
    this.#metrics = undefined
    this.#unlock()
  }

  #guard(name: string, write: (path: string) => void): void {
    try {
      write(this.file(name))
    } catch (cause) {
      throw noSpace(this.file(name), cause)
    }
  }
}

/** NaN for a line that was torn by a crash, and for the empty end of the file. */
function read(line: string): { step: number; loss: number } {
  try {
    const { step, loss } = JSON.parse(line) as { step?: unknown; loss?: unknown }
    return { step: Number(step), loss: Number(loss) }
  } catch {
    return { step: Number.NaN, loss: Number.NaN }
  }
}
