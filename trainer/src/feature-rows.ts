/** Where `embed` writes: JSON lines to stdout or a file, or a .npy with its names beside. A file appears when it is whole. */
import { extname } from 'node:path'
import type { Context } from './command.ts'
import { TrainError } from './errors.ts'
import { FileBeside, writeDurably } from './files.ts'
import { NpyFile } from './npy.ts'

/** Takes rows of features with what they are of. */
export interface RowSink extends AsyncDisposable {
  /** `names` (n), `features` (n, width). */
  write(names: readonly string[], features: Float32Array): Promise<void>
  /** Every row is there: returns the files that were written. */
  commit(): Promise<string[]>
}

/**
 * Opens `out`: `-`, FILE.jsonl or FILE.npy.
 * @param key what the names are: `path` or `text`
 * @param about stands beside the names of a .npy
 * @throws TrainError `usage` for another ending
 */
export async function openRows(
  out: string,
  key: 'path' | 'text',
  width: number,
  about: Record<string, unknown>,
  { write }: Pick<Context, 'write'>,
): Promise<RowSink> {
  if (out === '-') {
    await write('') // refused at once where stdout is for something else
    return {
      write: (...rows) => write(jsonLines(key, width, ...rows)),
      commit: async () => [],
      [Symbol.asyncDispose]: async () => {},
    }
  }
  const ending = extname(out).toLowerCase()
  if (ending === '.jsonl') return await jsonFile(out, key, width)
  if (ending === '.npy') return await npyFile(out, width, about)
  throw new TrainError('usage', `--out: expected a .npy or .jsonl file or -, got ${out}`)
}

async function jsonFile(out: string, key: string, width: number): Promise<RowSink> {
  const file = await FileBeside.open(out)
  return {
    write: (...rows) => file.write(jsonLines(key, width, ...rows)),
    commit: async () => {
      await file.commit()
      return [out]
    },
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  }
}

async function npyFile(out: string, width: number, about: Record<string, unknown>): Promise<RowSink> {
  const file = await NpyFile.open(out, width)
  const beside = out.replace(/\.npy$/i, '.json')
  const all: string[] = []
  return {
    write: async (names, features) => {
      for (const name of names) all.push(name)
      await file.write(features)
    },
    commit: async () => {
      await writeDurably(beside, `${JSON.stringify({ ...about, names: all })}\n`)
      await file.commit()
      return [out, beside]
    },
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  }
}

/** Nine digits are enough to read the same f32 again. */
function jsonLines(key: string, width: number, names: readonly string[], features: Float32Array): string {
  const row = (i: number) => Array.from(features.subarray(i * width, (i + 1) * width), (x) => Number(x.toPrecision(9)))
  return names.map((name, i) => `${JSON.stringify({ [key]: name, features: row(i) })}\n`).join('')
}
