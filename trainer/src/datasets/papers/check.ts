/** Whether one of the papers' sets is there and whole: what is missing, where it is expected, and where it comes from. Writes nothing. */
import { join, posix, resolve } from 'node:path'
import { TrainError } from '../../errors.ts'
import { type Dataset, everyItem, SPLITS, type Split } from '../dataset.ts'
import { diskFiles, kindOf } from '../disk.ts'
import { openPaper, otherRoot, tooDeep } from './open.ts'
import type { Paper } from './table.ts'

const EXAMPLES = 3

/** `absent`: not even its folder is there. */
export type PaperState = 'whole' | 'incomplete' | 'absent'

export interface Finding {
  /** What is wrong, and where. */
  message: string
  /** What to do: where the missing thing comes from, or what to move. */
  hint?: string
}

export interface PaperCheck {
  name: string
  registry: string
  /** Where it is expected. */
  folder: string
  state: PaperState
  findings: Finding[]
  /** What is there; absent where it cannot be listed. */
  counts?: { n_cls: number } & Record<Split, number>
  published: { n_cls: number } & Record<Split, number>
}

/** Looks at the set below `root`. Every listed image has to be there; none is opened. */
export async function checkPaper(paper: Paper, root: string): Promise<PaperCheck> {
  const { name, registry, n_cls } = paper
  const folder = join(resolve(root), paper.folder)
  const published = { n_cls, ...paper.published }
  const about = { name, registry, folder, published }
  if (!(await kindOf(folder, 'isDirectory'))) {
    const finding = { message: `${folder} is missing`, hint: (await otherRoot(root, paper)) ?? fromPage(paper) }
    return { ...about, state: 'absent', findings: [finding, ...(await missingParts(paper, folder))] }
  }
  const findings = [...(await missingImages(paper, folder)), ...(await missingParts(paper, folder))]
  try {
    const dataset = await openPaper(paper, root, { write: false })
    const counts = {
      n_cls: dataset.classnames.length,
      train: dataset.train.length,
      val: dataset.val.length,
      test: dataset.test.length,
    }
    findings.push(...(await missingFiles(dataset, paper)), ...otherCounts(counts, published))
    return { ...about, state: findings.length === 0 ? 'whole' : 'incomplete', findings, counts }
  } catch (cause) {
    if (!(cause instanceof TrainError)) throw cause
    // What is missing was said above, in more words.
    if (cause.code !== 'not_found' || findings.length === 0) findings.push(findingOf(cause))
    return { ...about, state: 'incomplete', findings }
  }
}

/** Whether the set's folders and its split file are there; looks at no image and reads nothing. */
export async function isThere({ folder, images, source }: Paper, root: string): Promise<boolean> {
  const at = (path: string) => join(root, folder, path)
  const folders = await Promise.all(images.map((path) => kindOf(at(path), 'isDirectory')))
  return folders.every(Boolean) && (!('split' in source) || (await kindOf(at(source.split.path), 'isFile')))
}

async function missingImages(paper: Paper, folder: string): Promise<Finding[]> {
  const there = await Promise.all(paper.images.map((path) => kindOf(join(folder, path), 'isDirectory')))
  const missing = paper.images.filter((_, i) => !there[i])
  if (missing.length === 0) return []
  const deep = await tooDeep(folder, paper)
  return missing.map((path) => ({
    message: `${join(folder, path)} is missing: a folder of the images`,
    hint: deep ?? fromPage(paper),
  }))
}

/** The split file, or what it is made of; classnames.txt of ImageNet serves its shifted sets. */
async function missingParts({ source, name }: Paper, folder: string): Promise<Finding[]> {
  const parts = 'split' in source ? [source.split] : source.parts
  const findings: Finding[] = []
  for (const { path, from } of parts) {
    const near = name.startsWith('imagenet') && (await kindOf(join(folder, '../imagenet', path), 'isFile'))
    if (near || (await kindOf(join(folder, path), 'isFile'))) continue
    const cut = 'split' in source && source.generate !== undefined
    const without = cut
      ? "; without it the set is cut as the original cuts it, which is another cut than the papers'"
      : ''
    findings.push({ message: `${join(folder, path)} is missing${without}`, hint: `It comes from ${from}` })
  }
  if (findings.length === 0 || !('split' in source)) return findings
  for (const { path, from } of source.parts) {
    if (await kindOf(join(folder, path), 'isFile')) continue
    findings.push({
      message: `${join(folder, path)} is missing too, which the cut would need`,
      hint: `It comes from ${from}`,
    })
  }
  return findings
}

/** Listed images that are not on disk. Each folder is read once; no file is looked at. */
async function missingFiles(dataset: Dataset, { images, note }: Paper): Promise<Finding[]> {
  const folders = new Map<string, Set<string>>()
  const gone = new Set<string>()
  const files = diskFiles('')
  for (const { item } of everyItem(dataset)) {
    const { dir, base } = posix.parse(item.source)
    let names = folders.get(dir)
    if (names === undefined) {
      names = new Set(await files.files(dir).catch(() => []))
      folders.set(dir, names)
    }
    if (!names.has(base)) gone.add(item.source)
  }
  const missing = [...gone]
  if (missing.length === 0) return []
  const examples = `${missing.slice(0, EXAMPLES).join(', ')}${missing.length > EXAMPLES ? ', ...' : ''}`
  const message = `${missing.length} listed ${missing.length === 1 ? 'image is' : 'images are'} missing: ${examples}`
  const nested = images.map((path) => join(dataset.root, path, posix.basename(path)))
  for (const path of nested)
    if (await kindOf(path, 'isDirectory')) return [{ message, hint: `There is ${path}: move its files one folder up.` }]
  return [{ message, ...(note === undefined ? {} : { hint: note }) }]
}

function otherCounts(counts: PaperCheck['published'], published: PaperCheck['published']): Finding[] {
  const what = { n_cls: 'classes', train: 'training images', val: 'validation images', test: 'test images' }
  return (['n_cls', ...SPLITS] as const)
    .filter((key) => counts[key] !== published[key])
    .map((key) => ({ message: `${counts[key]} ${what[key]}, published are ${published[key]}` }))
}

function fromPage({ page, note }: Paper): string {
  return `It comes from ${page}${note === undefined ? '' : `. ${note}`}`
}

function findingOf({ message, hint }: TrainError): Finding {
  return hint === undefined ? { message } : { message, hint }
}
