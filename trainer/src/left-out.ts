/** Images that cannot be read are named and left out; the others go on. */

import type { EmbeddedBatch, Readable } from './images.ts'
import type { Terminal } from './terminal.ts'

/** An image that was left out, and why. */
export interface LeftOut {
  path: string
  code: string
  message: string
}

/** The good images of a batch with their features (n, width); a warning for each bad one. */
export function leaveOut<T extends Readable>(
  { start, items, features, bad }: EmbeddedBatch<T>,
  width: number,
  terminal: Terminal,
): { good: T[]; features: Float32Array; bad: LeftOut[] } {
  const out = bad.map(({ index, code, message }) => ({ path: items[index - start]?.path ?? '', code, message }))
  for (const { path, message } of out)
    terminal.warn(`left out: ${message.includes(path) ? message : `${path}: ${message}`}`)
  const gone = new Set(bad.map(({ index }) => index - start))
  const kept = items.flatMap((item, i) =>
    gone.has(i) ? [] : [{ item, row: features.subarray(i * width, (i + 1) * width) }],
  )
  const rows = new Float32Array(kept.length * width)
  for (const [i, { row }] of kept.entries()) rows.set(row, i * width)
  return { good: kept.map(({ item }) => item), features: rows, bad: out }
}
