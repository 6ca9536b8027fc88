/**
 * A CSV file (RFC 4180) of images: a header `path,label` or `path,label,split`, then one line per image.
 * Paths start at the file's folder; a label is the class's name; classes are sorted by code point.
 */
import { isAbsolute, relative, sep } from 'node:path'
import { CsvError, parse } from 'csv-parse/sync'
import { TrainError } from '../errors.ts'
import { cut } from './cut.ts'
import { type Dataset, type Files, isSplit, lists, SPLITS, safePath, withLabels } from './dataset.ts'

interface Row {
  record: Record<string, string>
  info: { lines: number }
}

/**
 * Reads `file`, which lies directly in `files`. Without a `split` column every class is cut.
 * @throws TrainError `bad_data`, `bad_classes` or `too_few_images`, with the number of the line.
 */
export async function readCsv(files: Files, file: string, name: string, seed: number): Promise<Dataset> {
  const where = `${files.root}/${file}`
  const rows = parseRows(where, await files.read(file))
  const seen = new Map<string, number>()
  const images = rows.map(({ record, info: { lines } }) => {
    const line = `${where}, line ${lines}`
    const [classname, split = 'train'] = [record.label?.trim() ?? '', record.split?.trim()]
    if (classname === '') throw new TrainError('bad_classes', `${line}: the label is empty`)
    if (!isSplit(split))
      throw new TrainError('bad_data', `${line}: split: expected ${SPLITS.join(', ')}, got "${split}"`)
    const path = safePath(fromRoot(files.root, record.path ?? ''), line)
    const before = seen.get(path)
    if (before !== undefined) throw new TrainError('bad_data', `${line}: ${path} is in line ${before} already`)
    seen.set(path, lines)
    return { path, classname, split }
  })
  if (images.length === 0) throw new TrainError('bad_classes', `${where} lists no images, so there are no classes`)
  const { classnames, listed } = withLabels(images)
  const given = rows[0]?.record.split !== undefined
  return { name, root: where, layout: 'csv', classnames, ...lists(given ? listed : cut(listed, seed, where), files) }
}

function parseRows(where: string, bytes: Uint8Array): Row[] {
  const columns = (header: string[]) => {
    const names = header.map((name) => name.trim().toLowerCase())
    const missing = ['path', 'label'].find((name) => !names.includes(name))
    if (missing === undefined) return names
    throw new TrainError(
      'bad_data',
      `${where}, line 1: expected a header path,label[,split], got "${header.join(',')}"`,
    )
  }
  try {
    // `info` makes each row an object of the record and where it ended.
    return parse(Buffer.from(bytes), { bom: true, columns, info: true, skip_empty_lines: true }) as unknown as Row[]
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause
    const line = 'lines' in cause ? `, line ${String(cause.lines)}` : ''
    throw new TrainError('bad_data', `${where}${line}: ${cause.message}`)
  }
}

function fromRoot(root: string, path: string): string {
  return isAbsolute(path) ? relative(root, path).replaceAll(sep, '/') : path
}
