/** The images that the words of a command line name: files, folders with all that lies below, data sets. */
import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join, relative, resolve, sep } from 'node:path'
import { byCodePoint, everyItem } from './datasets/dataset.ts'
import { kindOf } from './datasets/disk.ts'
import { type OpenOptions, openDataset } from './datasets/open.ts'
import { TrainError } from './errors.ts'

const IMAGE = /\.(png|jpe?g|webp|gif)$/i

/** One image. */
export interface ListedImage {
  /** As it is printed: what was typed, and the way below it. */
  path: string
  /** The same however it was typed. */
  id: string
  read: () => Promise<Uint8Array>
  /** Another one after every change of the file. */
  stamp: () => Promise<string>
}

/**
 * All images that `words` name, in their order; what lies in a folder in code-point order. Of a folder those files are taken whose name ends
 * as an image's, none that is hidden; a file that is named itself is taken as it is. Any other word is what `openDataset` knows by name.
 * @throws TrainError `not_found`; `bad_data` for a folder without images
 */
export async function listImages(
  words: readonly string[],
  place: Pick<OpenOptions, 'root'> = {},
): Promise<ListedImage[]> {
  return (await Promise.all(words.map((word) => listOne(word, place)))).flat()
}

async function listOne(word: string, place: Pick<OpenOptions, 'root'>): Promise<ListedImage[]> {
  if (await kindOf(word, 'isFile')) return [onDisk(word)]
  const images = (await kindOf(word, 'isDirectory')) ? await inFolder(word) : await inDataset(word, place)
  if (images.length === 0) throw new TrainError('bad_data', `${word} holds no images (.png, .jpg, .webp, .gif)`)
  return images
}

async function inFolder(folder: string): Promise<ListedImage[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries
    .filter((entry) => !entry.isDirectory() && IMAGE.test(entry.name))
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter(
      (path) =>
        !relative(folder, path)
          .split(sep)
          .some((part) => part.startsWith('.')),
    )
  return files.sort(byCodePoint).map(onDisk)
}

function onDisk(path: string): ListedImage {
  return {
    path,
    id: resolve(path),
    read: () => readFile(path),
    stamp: async () => {
      const { size, mtimeMs } = await stat(path)
      return `${size} ${mtimeMs}`
    },
  }
}

async function inDataset(name: string, place: Pick<OpenOptions, 'root'>): Promise<ListedImage[]> {
  return [...everyItem(await openDataset(name, place))].map(({ split, item }) => ({
    path: `${name}/${split}/${item.path}`,
    id: `${name}/${split}/${item.path}`,
    read: () => item.read(),
    stamp: async () =>
      createHash('sha256')
        .update(await item.read())
        .digest('hex'),
  }))
}
