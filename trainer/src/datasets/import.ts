/**
 * Brings a set of any layout into the folder of imported sets, as `images/` and a `split_zhou_<Name>.json`.
 * The new set is made beside its place and renamed into it, so a set is there whole or not at all.
 */
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import { TrainError } from '../errors.ts'
import { noSpace } from '../files.ts'
import { type Dataset, everyItem, SPLITS, type Split } from './dataset.ts'
import { kindOf } from './disk.ts'
import { imageType } from './image-type.ts'
import { type Inspector, type ReadOptions, readEach } from './read-each.ts'
import { type Entry, splitRows } from './split-zhou.ts'

export interface ImportOptions extends ReadOptions {
  /** Leave the images where they are and link to them. */
  link?: boolean | undefined
  /** Replace a set that is there already. */
  force?: boolean | undefined
}

/** The set as it was written. */
export interface Imported extends Record<Split, number> {
  n_cls: number
  skipped: number
}

/** What a set may be called: it becomes a folder, and part of names of runs and bundles. */
export const SET_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/**
 * Checks every image and writes the set to the folder `to`. Nothing is left of a failed import.
 * @throws TrainError `exists` if `to` is there and `force` is not, `usage` for links to what are no files, `too_few_images` if a class loses its last image, what {@link readEach} throws.
 */
export async function importDataset(
  dataset: Dataset,
  to: string,
  name: string,
  inspector: Inspector,
  options: ImportOptions = {},
): Promise<Imported> {
  if (!options.force && (await kindOf(to, 'isDirectory')))
    throw new TrainError('exists', `${to} is there already`, 'Choose another --name, or replace it by --force.')
  if (options.link && dataset.layout === 'parquet')
    throw new TrainError('usage', '--link does not go with parquet files', 'Their images have no files to link to.')
  const beside = hiddenBeside(to, 'tmp')
  try {
    const written = await writeSet(dataset, beside, name, inspector, options)
    await swap(beside, to)
    return written
  } catch (cause) {
    throw noSpace(to, cause)
  } finally {
    await rm(beside, { recursive: true, force: true })
  }
}

async function writeSet(
  dataset: Dataset,
  to: string,
  name: string,
  inspector: Inspector,
  options: ImportOptions,
): Promise<Imported> {
  const kept: Record<Split, Entry[]> = { train: [], val: [], test: [] }
  const every = [...everyItem(dataset)]
  const items = every.map(({ item }) => item)
  const written = new Set<string>()
  await mkdir(to, { recursive: true })
  for await (const { item, index, bytes } of readEach(items, inspector, options)) {
    const type = imageType(bytes)
    const name = extname(item.path) === '' && type !== undefined ? `${item.path}.${type}` : item.path // a parquet file's row
    const path = join(to, 'images', name)
    if (!written.has(path)) {
      await mkdir(dirname(path), { recursive: true })
      await (options.link ? symlink(item.source, path) : writeFile(path, bytes, { flag: 'wx' }))
    }
    written.add(path) // a split file may list an image more than once
    kept[every[index]!.split].push({ path: name, label: item.label, classname: item.classname })
  }
  const present = new Set(SPLITS.flatMap((split) => kept[split].map(({ label }) => label)))
  const gone = dataset.classnames.find((_, label) => !present.has(label))
  if (gone !== undefined) throw new TrainError('too_few_images', `class "${gone}" has no image left that can be read`)
  await writeFile(join(to, `split_zhou_${pascalCase(name)}.json`), `${JSON.stringify(splitRows(kept))}\n`)
  return {
    n_cls: dataset.classnames.length,
    train: kept.train.length,
    val: kept.val.length,
    test: kept.test.length,
    skipped: items.length - SPLITS.reduce((sum, split) => sum + kept[split].length, 0),
  }
}

/** Puts the new folder in the place of the old one, if there is one; a failure in between leaves the old one. */
async function swap(beside: string, to: string): Promise<void> {
  const old = hiddenBeside(to, 'old')
  const replaces = await kindOf(to, 'isDirectory')
  if (replaces) await rename(to, old)
  try {
    await rename(beside, to)
  } catch (cause) {
    if (replaces) await rename(old, to)
    throw cause
  }
  await rm(old, { recursive: true, force: true })
}

/** Hidden, so that what a crash leaves is not taken for a set. */
function hiddenBeside(path: string, ending: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}.${ending}`)
}

/** `my-cats` is MyCats, as the originals name their files. */
function pascalCase(name: string): string {
  return name.replace(/(?:^|[._-]+)(.)/g, (_, letter: string) => letter.toUpperCase())
}
