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

/** The split that a folder, a file or a column means by `word`; `undefined` if it is the name of none. */
export function splitOf(word: string): Split | undefined {
  const name = word.trim().toLowerCase()
  if (['valid', 'validation', 'dev'].includes(name)) return 'val'
  return SPLITS.find((split) => split === name)
}

/** One image. `path` is relative to the set's images, with `/`, as its split file or folder names it. */
export interface Item {
  readonly path: string
  /** Position of the class in `classnames`. */
  readonly label: number
  readonly classname: string
  /** Where the file lies, for messages and links. */
  readonly source: string
  /** The bytes of the file. Throws TrainError `bad_data`, naming the file and its class. */
  read(): Promise<Uint8Array>
  /** What tells most files apart without reading them. Throws as `read` does. */
  peek(): Promise<Peek>
}

/** A file's length in bytes, its first {@link PEEK_HEAD} bytes and its last {@link PEEK_TAIL}, or fewer. */
export interface Peek {
  size: number
  head: Uint8Array
  tail: Uint8Array
}
export const PEEK_HEAD = 12
export const PEEK_TAIL = 64

/** The peek of a file that is in memory. */
export function peekOf(bytes: Uint8Array): Peek {
  return {
    size: bytes.length,
    head: bytes.subarray(0, PEEK_HEAD),
    tail: bytes.subarray(Math.max(0, bytes.length - PEEK_TAIL)),
  }
}

export type Layout = 'split_zhou' | 'folders' | 'csv' | 'jsonl' | 'imagefolder' | 'parquet' | 'imagenet' | 'lists'

export interface Dataset extends Record<Split, Item[]> {
  name: string
  /** Where it lies, for messages and `dataset show`. */
  root: string
  layout: Layout
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
  /** Throws as `read` does. */
  peek: (path: string) => Promise<Peek>
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
  const place = { files, base }
  for (const one of listed) sets[one.split].push(new ListedItem(place, one))
  return sets
}

/** An item of a million has to be small: what can be derived is, and what all share is held once. */
class ListedItem implements Item {
  readonly path: string
  readonly label: number
  readonly classname: string
  readonly #place: { files: Files; base: string }

  constructor(place: { files: Files; base: string }, { path, label, classname }: Omit<Listed, 'split'>) {
    this.path = path
    this.label = label
    this.classname = classname
    this.#place = place
  }

  get source(): string {
    return posix.join(this.#place.files.root, this.#below)
  }

  get #below(): string {
    return posix.join(this.#place.base, this.path)
  }

  read(): Promise<Uint8Array> {
    return this.#try(() => this.#place.files.read(this.#below))
  }

  peek(): Promise<Peek> {
    return this.#try(() => this.#place.files.peek(this.#below))
  }

  async #try<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await run()
    } catch (cause) {
      const why = cause instanceof Error ? cause.message.replace(/, .*$/, '') : String(cause)
      const message = `${this.source} of class "${this.classname}" cannot be read: ${why}`
      throw new TrainError('bad_data', message, undefined, { cause })
    }
  }
}

/** Gives labels to images that are listed by class name: classes are sorted by code point, or as `order` says. */
export function withLabels<T extends { classname: string }>(
  listed: readonly T[],
  order?: (a: string, b: string) => number,
): { classnames: string[]; listed: (T & { label: number })[] } {
  const names = [...new Set(listed.map(({ classname }) => classname))]
  const classnames = order === undefined ? sortByCodePoint(names) : names.sort(order)
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

/** Sorts in place, as {@link byCodePoint}. Without surrogates the language's own order is the same and a hundred times faster. */
export function sortByCodePoint(names: string[]): string[] {
  return names.some((name) => /[\ud800-\udfff]/.test(name)) ? names.sort(byCodePoint) : names.sort()
}
