/** The built command line as a process, in a folder of its own, and a small data set for it. For tests only. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { openDataset } from '../datasets/open.ts'

export const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))

/** How a process ended; `code` is null for one that was killed. */
export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

export interface Started {
  child: ChildProcessWithoutNullStreams
  end: Promise<Ended>
}

/** A folder to work in, with a cache of its own. */
export class Home {
  readonly path: string

  constructor(name: string) {
    this.path = mkdtempSync(join(tmpdir(), `cocoop-${name}-`))
  }

  /** A path in the folder. */
  file(...parts: string[]): string {
    return join(this.path, ...parts)
  }

  /** Starts `cocoop-train ARGS`; `before` are words of a program that starts it in turn. */
  start(
    args: readonly string[],
    { before = [], env = {} }: { before?: string[]; env?: NodeJS.ProcessEnv } = {},
  ): Started {
    const [program = '', ...rest] = [...before, process.execPath, CLI, ...args]
    const child = spawn(program, rest, {
      cwd: this.path,
      env: { ...process.env, NO_COLOR: '1', COCOOP_CACHE: this.file('cache'), ...env },
    })
    const ended = { stdout: '', stderr: '' }
    child.stdout.on('data', (chunk: Buffer) => (ended.stdout += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (ended.stderr += chunk.toString()))
    return { child, end: once(child, 'close').then(([code]) => ({ code: code as number | null, ...ended })) }
  }

  /** Runs `cocoop-train ARGS` to its end. */
  run(...args: string[]): Promise<Ended> {
    return this.start(args).end
  }

  /** The document that `cocoop-train ARGS --json` prints; throws what it says where it fails. */
  async json<T>(...args: string[]): Promise<T> {
    const { code, stdout, stderr } = await this.run(...args, '--json')
    if (code !== 0) throw new Error(`${args.join(' ')} left with ${code}: ${stderr}${stdout}`)
    return JSON.parse(stdout) as T
  }

  /** Lines of metrics that a run has written so far, one for each step. */
  steps(run: string): number {
    const path = this.file(run, 'metrics.jsonl')
    if (!existsSync(path)) return 0
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line.includes('"kind":"step"')).length
  }

  /** Waits until a run that goes on has done so many steps. */
  async reached(run: string, steps: number): Promise<void> {
    for (let waited = 0; this.steps(run) < steps; waited += 2) {
      if (waited > 60_000) throw new Error(`no ${steps} steps in ${run}`)
      await sleep(2)
    }
  }
}

/** The classes of {@link makeColours}. */
export const COLOURS = ['black', 'blue', 'red', 'yellow']

/** A few images of a few classes, in class folders below train, val and test. */
export async function makeColours(folder: string, { train = 6, test = 4 } = {}): Promise<void> {
  const sets = await openDataset('emoji-backdrops')
  for (const [split, items, n] of [
    ['train', sets.train, train],
    ['val', sets.train, 1],
    ['test', sets.test, test],
  ] as const) {
    for (const classname of COLOURS) {
      mkdirSync(join(folder, split, classname), { recursive: true })
      const some = items.filter((item) => item.classname === classname).slice(0, n)
      for (const [i, item] of some.entries())
        writeFileSync(join(folder, split, classname, `${i}.png`), await item.read())
    }
  }
}

/** Waits until a process has said `text` on stderr. */
export function said({ child }: Started, text: string): Promise<void> {
  return new Promise((done, fail) => {
    let all = ''
    child.stderr.on('data', (chunk: Buffer) => {
      all += chunk.toString()
      if (all.includes(text)) done()
    })
    child.once('exit', () => fail(new Error(`it never said "${text}": ${all}`)))
  })
}
