/**
 * Opens one of the papers' sets below the root. Where its split file is missing the set is cut as the original cuts it, and the cut is
 * written in the place of the split file, so that every later command sees the same images.
 */
import { readdir } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { codeOf, TrainError } from '../../errors.ts'
import { writeDurably } from '../../files.ts'
import { nearest } from '../../flags.ts'
import { type Dataset, type Files, lists } from '../dataset.ts'
import { diskFiles, kindOf } from '../disk.ts'
import { readSplitZhou, splitRows } from '../split-zhou.ts'
import type { Lists } from './generate.ts'
import { PAPERS, type Paper } from './table.ts'

export interface OpenPaper {
  /** Cuts a set whose split file is missing. */
  seed?: number | undefined
  /** Whether a cut is written. */
  write?: boolean
  /** Told when there is no split file, and when a cut could not be written. */
  warn?: ((message: string) => void) | undefined
}

/**
 * The set `paper` below `root`.
 * @throws TrainError `not_found` if its folder or a file of it is not there, with what was expected where; what the readers throw
 */
export async function openPaper(
  paper: Paper,
  root: string,
  { seed = 1, write = true, warn }: OpenPaper = {},
): Promise<Dataset> {
  const files = diskFiles(join(resolve(root), paper.folder))
  await expectFolders(paper, root)
  try {
    return await open(paper, files, { seed, write, warn })
  } catch (cause) {
    if (codeOf(cause) !== 'not_found' || cause instanceof TrainError) throw cause
    const path = (cause as NodeJS.ErrnoException).path ?? files.root
    throw new TrainError('not_found', `${paper.name}: ${path} is missing`, checkHint(paper, root), { cause })
  }
}

async function open(paper: Paper, files: Files, { seed = 1, write, warn }: OpenPaper): Promise<Dataset> {
  const { source } = paper
  if ('list' in source) return toDataset(paper, files, await source.list(files))
  const { split, generate } = source
  const base = paper.base ?? paper.images[0] ?? ''
  if (await files.has(split.path)) return readSplitZhou(files, split.path, paper.name, { base, sameNames: true })
  const path = join(files.root, split.path)
  if (generate === undefined)
    throw new TrainError('not_found', `${paper.name}: ${path} is missing`, `It comes from ${split.from}`)
  const dataset = toDataset(paper, files, await generate(files, seed))
  const made = `${path} is missing, so ${paper.name} was cut as the original cuts it, with seed ${seed}; the papers' own split comes from ${split.from}`
  if (!write) return dataset
  try {
    await writeDurably(path, `${JSON.stringify(splitRows(dataset), null, 4)}\n`)
    warn?.(`${made}. The cut is kept in that place.`)
  } catch (cause) {
    if (!['no_permission', 'no_space'].includes(codeOf(cause))) throw cause
    warn?.(`${made}. The cut could not be written and is made again by each command.`)
  }
  return dataset
}

function toDataset(paper: Paper, files: Files, { classnames, listed, base, val_is_test }: Lists): Dataset {
  const { name, source } = paper
  const sets = lists(listed, files, base)
  const layout = 'list' in source ? (name.startsWith('imagenet') ? 'imagenet' : 'lists') : 'split_zhou'
  return { name, root: files.root, layout, classnames, ...sets, ...(val_is_test ? { val: sets.test } : {}) }
}

/** The root, the set's folder and its folders of images have to be there. */
async function expectFolders(paper: Paper, root: string): Promise<void> {
  const folder = join(resolve(root), paper.folder)
  if (!(await kindOf(root, 'isDirectory')))
    throw new TrainError('not_found', `there is no folder ${root}, in which ${paper.folder}/ was expected`, ROOT_HINT)
  if (!(await kindOf(folder, 'isDirectory'))) {
    const message = `${folder} is missing: the set ${paper.name} is expected there, with its images in ${paper.images.join(', ')}`
    throw new TrainError('not_found', message, (await otherRoot(root, paper)) ?? checkHint(paper, root))
  }
  // ImageNet's training images are not needed to test on it.
  const there = await Promise.all(paper.images.map((images) => kindOf(join(folder, images), 'isDirectory')))
  const missing = there.includes(true) && paper.name === 'imagenet' ? -1 : there.indexOf(false)
  if (missing < 0) return
  const message = `${join(folder, paper.images[missing] ?? '')} is missing: the images of ${paper.name} are expected there`
  throw new TrainError('not_found', message, (await tooDeep(folder, paper)) ?? checkHint(paper, root))
}

const ROOT_HINT = '--root DIR or COCOOP_ROOT names the folder that holds imagenet/, caltech-101/ and so on.'

function checkHint({ name }: Paper, root: string): string {
  return `\`cocoop-train dataset check ${name} --root ${root}\` says what is missing and where it comes from.`
}

/** What else `root` may be: the folder of a set itself, or one in which the set is called otherwise. */
export async function otherRoot(root: string, paper: Paper): Promise<string | undefined> {
  const itself = PAPERS.find(({ folder }) => folder === basename(resolve(root)))
  if (itself !== undefined) return `${root} is the folder of ${itself.name}; the root is the folder above it.`
  const there = (await readdir(root, { withFileTypes: true }))
    .filter((entry) => !entry.isFile())
    .map(({ name }) => name)
  const names = new Set([paper.folder, paper.name, paper.registry].map(plain))
  const near = there.find((name) => names.has(plain(name))) ?? nearest(paper.folder, there)
  if (near !== undefined) return `There is ${join(root, near)}: rename it, or link to it, as ${paper.folder}.`
  if (PAPERS.some(({ folder }) => there.includes(folder))) return undefined
  return `${root} holds none of the papers' sets. ${ROOT_HINT}`
}

/** Archives and copies of them often lie one folder deeper than they should. */
export async function tooDeep(folder: string, { images }: Paper): Promise<string | undefined> {
  const below = await readdir(folder, { withFileTypes: true })
  for (const wanted of images) {
    for (const { name } of below.filter((entry) => entry.isDirectory())) {
      if (!(await kindOf(join(folder, name, wanted), 'isDirectory'))) continue
      return `There is ${join(folder, name, wanted)}: move what lies in ${join(folder, name)} one folder up.`
    }
  }
  return undefined
}

/** Without what copies of a set are called differently by. */
function plain(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '')
}
