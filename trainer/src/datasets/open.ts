/**
 * Finds a data set by what a user types: the name of an imported or embedded set or of one of the papers', or the path of a folder or file.
 * A name goes before a path; `./name` always means the path.
 */
import { existsSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { codeOf, TrainError } from '../errors.ts'
import { nearest } from '../flags.ts'
import type { Terminal } from '../terminal.ts'
import { Archive } from './archive.ts'
import { readCsv } from './csv.ts'
import { byCodePoint, type Dataset, type Files } from './dataset.ts'
import { diskFiles, kindOf } from './disk.ts'
import { readFolders } from './folders.ts'
import { readImagefolder } from './imagefolder.ts'
import { readJsonl } from './jsonl.ts'
import { openPaper } from './papers/open.ts'
import { findPaper, PAPERS } from './papers/table.ts'
import { parquetFiles, readParquet } from './parquet.ts'
import { partOf, splitTarget } from './part.ts'
import { isSplitFile, readSplitZhou } from './split-zhou.ts'

/** Where imported sets are kept unless --data-sets or COCOOP_DATA_SETS says otherwise: below the current folder. */
export const DATA_SETS = 'data-sets'

const EMBEDDED = fileURLToPath(new URL('../../../data', import.meta.url)) // from src/datasets and dist/datasets alike

export interface OpenOptions {
  /** Folder of the imported sets; by default COCOOP_DATA_SETS or `data-sets`. */
  data_sets?: string
  /** Cuts a set that comes without splits. */
  seed?: number
  /** Folder of the embedded archives. */
  embedded?: string
  /** Folder of the papers' sets; by default COCOOP_ROOT, if it is set. */
  root?: string | undefined
  /** Told what the user should know about how a set was opened. */
  terminal?: Pick<Terminal, 'warn'> | undefined
}

/** A set that has a name. */
export interface Named {
  name: string
  source: 'embedded' | 'imported'
  open: () => Promise<Dataset>
}

/**
 * Opens the set that `target` names, or with `NAME@TEXT` the part of it whose paths contain the text. Only lists are read; images are
 * read when asked for. A name of the papers' goes before a path only where there is a root.
 * @throws TrainError `not_found` with the known names and the nearest of them; what the readers throw.
 */
export async function openDataset(target: string, options: OpenOptions = {}): Promise<Dataset> {
  const part = splitTarget(target)
  if (part === undefined || existsSync(target)) return await openWhole(target, options)
  return partOf(await openWhole(part.whole, options), part.text)
}

async function openWhole(target: string, options: OpenOptions): Promise<Dataset> {
  const named = await namedDatasets(options)
  const found = named.find(({ name }) => name === target)
  if (found !== undefined) return found.open()
  const { root = process.env.COCOOP_ROOT } = options
  const paper = findPaper(target)
  if (paper !== undefined && root !== undefined && root !== '')
    return openPaper(paper, root, { seed: options.seed, warn: (text) => options.terminal?.warn(text) })
  if (existsSync(target)) return openPath(target, options.seed)
  if (paper !== undefined)
    throw new TrainError(
      'not_found',
      `${target} is a data set of the papers, which lie below a root, and there is none`,
      `--root DIR (or COCOOP_ROOT) names the folder that holds ${paper.folder}/.`,
    )
  const names = [...named.map(({ name }) => name), ...(root === undefined ? [] : PAPERS.map(({ name }) => name))]
  const near = nearest(target, names)
  const hint = `${near === undefined ? '' : `Did you mean ${near}? `}Known sets: ${names.join(', ') || 'none'}. A folder or a ${KINDS} works too.`
  throw new TrainError('not_found', `there is no data set and no folder or file called ${target}`, hint)
}

const KINDS = '.csv, .jsonl, .parquet or split_zhou_*.json'

/** Opens a folder (with a split file, metadata or parquet files, or of class folders) or a file of one of {@link KINDS}. */
export async function openPath(target: string, seed = 1): Promise<Dataset> {
  const path = resolve(target)
  const name = basename(path).replace(/\.(csv|jsonl|ndjson|json|parquet)$/i, '')
  if ((await stat(path)).isDirectory()) return openFolder(diskFiles(path), name, seed)
  const [files, file] = [diskFiles(dirname(path)), basename(path)]
  if (/\.csv$/i.test(path)) return readCsv(files, file, name, seed)
  if (/\.(jsonl|ndjson)$/i.test(path)) return readJsonl(files, file, name, seed)
  if (/\.parquet$/i.test(path)) return readParquet(files.root, [file], name, seed)
  if (isSplitFile(file)) return readSplitZhou(files, file, name)
  throw new TrainError('bad_data', `${target} is neither a folder nor a ${KINDS}`)
}

/** Every set with a name, imported ones first. An imported set hides an embedded one of its name. */
export async function namedDatasets({ data_sets, embedded = EMBEDDED }: OpenOptions = {}): Promise<Named[]> {
  const folder = data_sets ?? process.env.COCOOP_DATA_SETS ?? DATA_SETS
  const sets = [...(await importedDatasets(folder)), ...(await embeddedDatasets(embedded))]
  return sets.filter(({ name }, i) => sets.findIndex((other) => other.name === name) === i)
}

async function importedDatasets(folder: string): Promise<Named[]> {
  if (!(await kindOf(folder, 'isDirectory'))) return []
  const files = diskFiles(resolve(folder))
  const folders = (await files.folders('')).filter((name) => !name.startsWith('.'))
  return folders.map((name) => {
    return { name, source: 'imported', open: () => openFolder(diskFiles(join(files.root, name)), name, 1) }
  })
}

async function embeddedDatasets(embedded: string): Promise<Named[]> {
  const names = await readdir(embedded).catch((cause: unknown) => {
    if (codeOf(cause) === 'not_found') return []
    throw cause
  })
  const archives = names.filter((name) => name.endsWith('.zip')).sort(byCodePoint)
  const sets = await Promise.all(
    archives.map(async (file) => {
      const archive = await Archive.open(join(embedded, file))
      const folders = archive.folders().filter((name) => name !== 'licenses')
      return folders.map(
        (name): Named => ({ name, source: 'embedded', open: () => openFolder(archive.files(name), name, 1) }),
      )
    }),
  )
  return sets.flat()
}

async function openFolder(files: Files, name: string, seed: number): Promise<Dataset> {
  const [split, other] = (await files.files('')).filter(isSplitFile)
  if (split === undefined) return openPlain(files, name, seed)
  if (other === undefined) return readSplitZhou(files, split, name)
  throw new TrainError('bad_data', `${files.root} holds ${split} and ${other}`, 'Give the path of the one you mean.')
}

/** A folder that says what it is by what lies in it. */
async function openPlain(files: Files, name: string, seed: number): Promise<Dataset> {
  // The folder of a paper's set, given by its path: without a split file its folders are not its classes.
  const paper = PAPERS.find(({ folder }) => folder === basename(files.root))
  if (paper !== undefined && (await kindOf(join(files.root, paper.images[0] ?? ''), 'isDirectory')))
    return openPaper(paper, dirname(files.root), { seed, write: false })
  const labelled = await readImagefolder(files, name, seed)
  if (labelled !== undefined) return labelled
  const parquet = await parquetFiles(files)
  return parquet.length > 0 ? readParquet(files.root, parquet, name, seed) : readFolders(files, name, seed)
}
