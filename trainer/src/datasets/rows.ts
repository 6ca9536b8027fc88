/** A set out of a list of rows, whatever file they stood in: a path, the class's name, and a split for each or for none. */
import { isAbsolute, relative, sep } from 'node:path'
import { TrainError } from '../errors.ts'
import { cut } from './cut.ts'
import { type Dataset, type Files, type Layout, lists, SPLITS, safePath, splitOf, withLabels } from './dataset.ts'

export interface Row {
  path: string
  /** A number is the class's name, too; classes that are all numbers keep the order of numbers. */
  label: string | number
  split: string | undefined
  /** Of the file: for messages. */
  line: number
}

/** A file of rows. */
export interface RowFile {
  /** Its path, for messages. */
  where: string
  rows: readonly Row[]
  /** Folder that its paths start at, '' where that is the set's. */
  folder?: string
}

/**
 * The set of all rows. Where they name no splits every class is cut.
 * @throws TrainError `bad_data`, `bad_classes` or `too_few_images`, with the number of the line
 */
export function fromRows(
  tables: readonly RowFile[],
  files: Files,
  { name, root, layout, seed }: { name: string; root: string; layout: Layout; seed: number },
): Dataset {
  const seen = new Map<string, string>()
  const given = tables.some(({ rows }) => rows[0]?.split !== undefined)
  const numbers = tables.every(({ rows }) => rows.every(({ label }) => typeof label === 'number'))
  const images = tables.flatMap(({ where, rows, folder = '' }) =>
    rows.map((row) => {
      const line = `${where}, line ${row.line}`
      const classname = String(row.label).trim()
      if (classname === '') throw new TrainError('bad_classes', `${line}: the label is empty`)
      const split = given ? splitOf(row.split ?? '') : 'train'
      if (split === undefined)
        throw new TrainError('bad_data', `${line}: split: expected ${SPLITS.join(', ')}, got "${row.split ?? ''}"`)
      const path = safePath(fromRoot(files.root, folder, row.path), line)
      const before = seen.get(path)
      if (before !== undefined) throw new TrainError('bad_data', `${line}: ${path} is in ${before} already`)
      seen.set(path, tables.length === 1 ? `line ${row.line}` : line)
      return { path, classname, split }
    }),
  )
  if (images.length === 0) throw new TrainError('bad_classes', `${root} lists no images, so there are no classes`)
  const { classnames, listed } = withLabels(images, numbers ? (a, b) => Number(a) - Number(b) : undefined)
  return { name, root, layout, classnames, ...lists(given ? listed : cut(listed, seed, root), files) }
}

function fromRoot(root: string, folder: string, path: string): string {
  if (isAbsolute(path)) return relative(root, path).replaceAll(sep, '/')
  return folder === '' || path === '' ? path : `${folder}/${path}`
}
