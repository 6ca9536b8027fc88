/**
 * A CSV file (RFC 4180) of images: a header `path,label` or `path,label,split` (`file_name` is `path` too), then one line per image.
 * Paths start at the file's folder; a label is the class's name; classes are sorted by code point.
 */
import { CsvError, parse } from 'csv-parse/sync'
import { TrainError } from '../errors.ts'
import type { Dataset, Files } from './dataset.ts'
import { fromRows, type Row } from './rows.ts'

interface Parsed {
  record: Record<string, string>
  info: { lines: number }
}

/**
 * Reads `file`, which lies directly in `files`. Without a `split` column every class is cut.
 * @throws TrainError `bad_data`, `bad_classes` or `too_few_images`, with the number of the line.
 */
export async function readCsv(files: Files, file: string, name: string, seed: number): Promise<Dataset> {
  const where = `${files.root}/${file}`
  const rows = csvRows(where, await files.read(file))
  return fromRows([{ where, rows }], files, { name, root: where, layout: 'csv', seed })
}

/** The rows of a CSV file. Throws TrainError `bad_data`, with the number of the line. */
export function csvRows(where: string, bytes: Uint8Array): Row[] {
  return parseCsv(where, bytes).map(({ record, info }) => ({
    path: record.path ?? record.file_name ?? '',
    label: record.label ?? '',
    split: record.split,
    line: info.lines,
  }))
}

/** The header of a CSV file, in small letters. */
export function csvColumns(bytes: Uint8Array): string[] {
  const [first = []] = parse(Buffer.from(bytes), { bom: true, to: 1, relax_column_count: true }) as string[][]
  return first.map((name) => name.trim().toLowerCase())
}

function parseCsv(where: string, bytes: Uint8Array): Parsed[] {
  const columns = (header: string[]) => {
    const names = header.map((name) => name.trim().toLowerCase())
    if ((names.includes('path') || names.includes('file_name')) && names.includes('label')) return names
    throw new TrainError(
      'bad_data',
      `${where}, line 1: expected a header path,label[,split], got "${header.join(',')}"`,
    )
  }
  try {
    // `info` makes each row an object of the record and where it ended.
    return parse(Buffer.from(bytes), { bom: true, columns, info: true, skip_empty_lines: true }) as unknown as Parsed[]
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause
    const line = 'lines' in cause ? `, line ${String(cause.lines)}` : ''
    throw new TrainError('bad_data', `${where}${line}: ${cause.message}`)
  }
}
