/** Where `predict` writes: a CSV or JSON lines, row by row. A file appears when it is whole. */
import { extname } from 'node:path'
import type { Prediction } from 'cocoop/node'
import { TrainError } from './errors.ts'
import { FileBeside } from './files.ts'

/** A class that an image may be of; a linear probe has no cosine. */
export type Guess = Omit<Prediction, 'cosine'> & { cosine: number | null }

/** An image with its best classes, best first. */
export interface Predicted {
  path: string
  predictions: Guess[]
}

/** Takes rows until all are there. */
export interface PredictionFile extends AsyncDisposable {
  write(rows: readonly Predicted[]): Promise<void>
  commit(): Promise<void>
}

/**
 * Opens FILE.csv or FILE.jsonl.
 * @param topK classes of a row
 * @throws TrainError `usage` for another ending
 */
export async function openPredictions(out: string, topK: number): Promise<PredictionFile> {
  const format = { '.csv': csv, '.jsonl': jsonLines }[extname(out).toLowerCase()]
  if (format === undefined) throw new TrainError('usage', `--out: expected a .csv or .jsonl file, got ${out}`)
  const file = await FileBeside.open(out)
  await file.write(format === csv ? csvHead(topK) : '')
  return {
    write: (rows) => file.write(rows.map((row) => `${format(row)}\n`).join('')),
    commit: () => file.commit(),
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  }
}

function jsonLines(row: Predicted): string {
  return JSON.stringify(row)
}

/** `path`, then class, probability and cosine of the best, of the second best, and so on. */
function csvHead(topK: number): string {
  const names = Array.from({ length: topK }, (_, i) =>
    ['class', 'prob', 'cosine'].map((name) => (i === 0 ? name : `${name}_${i + 1}`)),
  )
  return `${['path', ...names.flat()].join(',')}\n`
}

function csv({ path, predictions }: Predicted): string {
  const cells = predictions.flatMap(({ classname, prob, cosine }) => [quoted(classname), prob, cosine ?? ''])
  return [quoted(path), ...cells].join(',')
}

/** A cell as RFC 4180 has it. */
function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
