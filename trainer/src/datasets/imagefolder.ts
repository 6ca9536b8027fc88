/**
 * Hugging Face's imagefolder with its labels in a file: metadata.csv or metadata.jsonl beside the images, in the set's folder or in each
 * of its split folders, with `file_name` and `label`. An imagefolder whose classes are folders is read as any folder of class folders.
 */

import { csvColumns, csvRows } from './csv.ts'
import type { Dataset, Files, Split } from './dataset.ts'
import { splitOf } from './dataset.ts'
import { visibleFolders } from './folders.ts'
import { jsonlColumns, jsonlRows } from './jsonl.ts'
import { fromRows, type Row, type RowFile } from './rows.ts'

/** The set, or `undefined` if there is no such file, or none with labels. */
export async function readImagefolder(files: Files, name: string, seed: number): Promise<Dataset | undefined> {
  const splits = (await visibleFolders(files, '')).flatMap((folder) => {
    const split = splitOf(folder)
    return split === undefined ? [] : [{ folder, split }]
  })
  const tables = await Promise.all([
    readTable(files, '', undefined),
    ...splits.map(({ folder, split }) => readTable(files, folder, split)),
  ])
  const found = tables.flatMap((table) => table ?? [])
  if (found.length === 0) return undefined
  return fromRows(found, files, { name, root: files.root, layout: 'imagefolder', seed })
}

async function readTable(files: Files, folder: string, split: Split | undefined): Promise<RowFile | undefined> {
  const at = (file: string) => (folder === '' ? file : `${folder}/${file}`)
  for (const [file, columns, parse] of [
    ['metadata.csv', (_: string, bytes: Uint8Array) => csvColumns(bytes), csvRows],
    ['metadata.jsonl', jsonlColumns, jsonlRows],
  ] as const) {
    if (!(await files.has(at(file)))) continue
    const [where, bytes] = [`${files.root}/${at(file)}`, await files.read(at(file))]
    if (!columns(where, bytes).includes('label')) continue
    const rows = parse(where, bytes).map((row): Row => ({ ...row, split: split ?? row.split ?? splitOfPath(row.path) }))
    return { where, rows, folder }
  }
  return undefined
}

/** At the top of a set a path may begin with the folder of a split. */
function splitOfPath(path: string): string | undefined {
  const folder = path.split('/', 1)[0] ?? ''
  return splitOf(folder) === undefined ? undefined : folder
}
