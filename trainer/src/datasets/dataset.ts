/**
 * What a data set is to everything above: three lists of images with their classes, read only when asked.
 * Where the images lie (a folder, an archive) and how they were listed is the business of the readers beside this file.
 */
import { posix } from 'node:path'
import { TrainError } from '../errors.ts'

export const SPLITS = ['train', 'val', 'test'] as const
export type Split = (typeof SPLITS)[number]

export function isSplit(word: string): word is Split {
  return SPLITS.some((split) => split === word)
}

/** One image. `path` is relative to the set's images, with `/`, as its split file or folder names it. */
export interface Item {
  path: string
  /** Position of the class in `classnames`. */
  label: number
  classname: string
  /** Where the file lies, for messages and links. */
  source: string
  /** The bytes of the file. Throws TrainError `bad_data`, naming the file and its class. */
  read: () => Promise<Uint8Array>
}

export interface Dataset extends Record<Split, Item[]> {
  name: string
  /** Where it lies, for messages and `dataset show`. */
  root: string
  layout: 'split_zhou' | 'folders' | 'csv'
  /** By label. As they are in the files: a prompt turns `_` into a space, nothing before it does. */
  classnames: string[]
}

/** Read access to the files below one folder, on disk or in an archive. Paths are relative, with `/`. */
export interface Files {
  root: string
  /** Names of the files that lie directly in `folder` ('' is the root), in code-point order. */
  files: (folder: string) => Promise<string[]>
  /** Names of the folders that lie directly in `folder`, in code-point order. */
  folders: (folder: string) => Promise<string[]>
  has: (path: string) => Promise<boolean>
  /** Throws what the file system throws. */
  read: (path: string) => Promise<Uint8Array>
}

/** An entry of a list before it is an item: which class, by name, and in which split. */
export interface Listed {
  split: Split
  path: string
  label: number
  classname: string
}

/** Makes the three lists. `base` is the folder of `files` that the paths start from. */
export function lists(listed: readonly Listed[], files: Files, base = ''): Record<Split, Item[]> {
  const sets: Record<Split, Item[]> = { train: [], val: [], test: [] }
  for (const { split, path, label, classname } of listed) {
    const below = posix.join(base, path)
    const source = posix.join(files.root, below)
    sets[split].push({ path, label, classname, source, read: () => readItem(files, below, source, classname) })
  }
  return sets
}

/** Gives labels to images that are listed by class name: classes are sorted by code point. */
export function withLabels<T extends { classname: string }>(
  listed: readonly T[],
): { classnames: string[]; listed: (T & { label: number })[] } {
  const classnames = [...new Set(listed.map(({ classname }) => classname))].sort(byCodePoint)
  const labels = new Map(classnames.map((classname, label) => [classname, label]))
  return { classnames, listed: listed.map((item) => ({ ...item, label: labels.get(item.classname) ?? 0 })) }
}

/** Every image of the set with its split, in the order train, val, test. */
export function* everyItem(dataset: Dataset): Generator<{ split: Split; item: Item }> {
  for (const split of SPLITS) for (const item of dataset[split]) yield { split, item }
}

/**
 * The path in its shortest form.
 * @throws TrainError `bad_data` if it is empty, absolute, leads outside the data set or is written with `\`.
 */
export function safePath(path: string, where: string): string {
  const short = posix.normalize(path)
  if (path === '' || path.includes('\0')) throw new TrainError('bad_data', `${where}: the path is empty`)
  if (path.includes('\\')) throw new TrainError('bad_data', `${where}: ${path}: write paths with /`)
  if (posix.isAbsolute(short) || short === '..' || short.startsWith('../') || /^[A-Za-z]:/.test(short)) {
    throw new TrainError('bad_data', `${where}: ${path} leads outside the data set`)
  }
  return short
}

/** Sorts by Unicode code points: the same on every machine, unlike a locale's order. */
export function byCodePoint(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

async function readItem(files: Files, path: string, source: string, classname: string): Promise<Uint8Array> {
  try {
    return await files.read(path)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.replace(/, .*$/, '') : String(cause)
    throw new TrainError('bad_data', `${source} of class "${classname}" cannot be read: ${why}`, undefined, { cause })
  }
}
