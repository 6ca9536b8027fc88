/**
 * JSON lines of images: an object per line with `path` (or `file_name`), `label` and, in all lines or in none, `split`.
 * Paths start at the file's folder; a label is the class's name, as text or as a whole number.
 */
import { z } from 'zod'
import { TrainError } from '../errors.ts'
import type { Dataset, Files } from './dataset.ts'
import { fromRows, type Row } from './rows.ts'

const Line = z
  .object({
    path: z.string().optional(),
    file_name: z.string().optional(),
    label: z.union([z.string(), z.int()]),
    split: z.string().optional(),
  })
  .refine(({ path, file_name }) => path !== undefined || file_name !== undefined, '"path" (or "file_name") is missing')

/**
 * Reads `file`, which lies directly in `files`.
 * @throws TrainError `bad_data`, `bad_classes` or `too_few_images`, with the number of the line
 */
export async function readJsonl(files: Files, file: string, name: string, seed: number): Promise<Dataset> {
  const where = `${files.root}/${file}`
  const rows = jsonlRows(where, await files.read(file))
  return fromRows([{ where, rows }], files, { name, root: where, layout: 'jsonl', seed })
}

/** The rows of a file of JSON lines. Throws TrainError `bad_data`, with the number of the line. */
export function jsonlRows(where: string, bytes: Uint8Array): Row[] {
  return objects(where, bytes).map(({ value, line }) => {
    const parsed = Line.safeParse(value)
    if (!parsed.success) {
      const [issue] = parsed.error.issues
      const place = issue?.path[0] === undefined ? '' : `"${String(issue.path[0])}": `
      throw new TrainError(
        'bad_data',
        `${where}, line ${line}: ${place}${issue?.message.replace(/^Invalid input: /, '')}`,
      )
    }
    const { path, file_name, label, split } = parsed.data
    return { path: path ?? file_name ?? '', label, split, line }
  })
}

/** The names in the first object. */
export function jsonlColumns(where: string, bytes: Uint8Array): string[] {
  const [first] = objects(where, bytes)
  return typeof first?.value === 'object' && first.value !== null ? Object.keys(first.value) : []
}

function objects(where: string, bytes: Uint8Array): { value: unknown; line: number }[] {
  const lines = Buffer.from(bytes)
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
  return lines.flatMap((text, i) => {
    if (text.trim() === '') return []
    try {
      return [{ value: JSON.parse(text) as unknown, line: i + 1 }]
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new TrainError('bad_data', `${where}, line ${i + 1} is not JSON: ${why}`)
    }
  })
}
