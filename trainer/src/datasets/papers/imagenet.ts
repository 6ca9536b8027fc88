/**
 * ImageNet and its four shifted test sets: a folder per class, named by its WordNet id, and classnames.txt, "n01440764 tench" on each line,
 * whose order is the order of the labels. Where only some of the classes are there, labels are dense over them, in that order.
 * The original takes the files of a folder as the file system lists them, so its few-shot choice is another on each machine; here they are sorted.
 */
import { TrainError } from '../../errors.ts'
import type { Files, Listed, Split } from '../dataset.ts'
import { imagesIn, visibleFolders } from '../folders.ts'
import { linesOf } from '../text-lines.ts'
import type { Lists } from './generate.ts'

/** Folders that are read at a time. */
const AT_ONCE = 16

/** A class: its folder in each split, and its name. */
interface Class {
  wnid: string
  classname: string
}

/** The validation images are those to test on, and those to validate on, as in the original. */
export async function imagenet(files: Files): Promise<Lists> {
  const named = await readClassnames(files)
  const train = await visibleFolders(files, 'images/train').catch(() => [])
  const val = await visibleFolders(files, 'images/val').catch(() => [])
  if (val.length === 0 && (await imagesIn(files, 'images/val').catch(() => [])).length > 0) {
    const message = `${files.root}/images/val holds images, not a folder for each class`
    const hint =
      'Sort the validation images into folders n01440764 and so on; valprep.sh, which is easily found, does it.'
    throw new TrainError('bad_data', message, hint)
  }
  const classes = chosen(files, named, [...train, ...val])
  const listed = [
    ...(await listClasses(files, 'images', classes, 'train', 'train', new Set(train))),
    ...(await listClasses(files, 'images', classes, 'val', 'test', new Set(val))),
  ]
  return { classnames: classes.map(({ classname }) => classname), listed, base: 'images', val_is_test: true }
}

/** A test set of folders called as ImageNet's: Sketch with all classes, A and R with 200 of them. */
export function imagenetFolders(base: string): (files: Files) => Promise<Lists> {
  return async (files) => {
    const folders = await visibleFolders(files, base)
    const classes = chosen(files, await readClassnames(files), folders)
    const listed = await listClasses(files, base, classes, '', 'test', new Set(folders))
    return { classnames: classes.map(({ classname }) => classname), listed, base }
  }
}

/** ImageNetV2's folders are called 0 to 999: places in classnames.txt. */
export async function imagenetV2(files: Files): Promise<Lists> {
  const base = 'imagenetv2-matched-frequency-format-val'
  const named = await readClassnames(files)
  const folders = await visibleFolders(files, base)
  const classes = folders.map((folder) => {
    const found = /^(0|[1-9]\d*)$/.test(folder) ? named[Number(folder)] : undefined
    if (found === undefined)
      throw new TrainError('bad_classes', `${files.root}/${base}/${folder}: expected a number below ${named.length}`)
    return { wnid: folder, classname: found.classname }
  })
  classes.sort((a, b) => Number(a.wnid) - Number(b.wnid))
  const listed = await listClasses(files, base, classes, '', 'test', new Set(folders))
  return { classnames: classes.map(({ classname }) => classname), listed, base }
}

/** classnames.txt of the set, or of ImageNet beside it. */
async function readClassnames(files: Files): Promise<Class[]> {
  const own = await files.has('classnames.txt')
  const lines = await linesOf(files, own ? 'classnames.txt' : '../imagenet/classnames.txt')
  return lines.map(({ text, where }) => {
    const space = text.indexOf(' ')
    if (space < 0) throw new TrainError('bad_data', `${where}: expected "n01440764 tench", got "${text}"`)
    return { wnid: text.slice(0, space), classname: text.slice(space + 1).trim() }
  })
}

/** The classes that have a folder. */
function chosen(files: Files, named: readonly Class[], folders: readonly string[]): Class[] {
  const known = new Set(named.map(({ wnid }) => wnid))
  const stranger = folders.find((folder) => !known.has(folder))
  if (stranger !== undefined)
    throw new TrainError('bad_classes', `${files.root}: the folder ${stranger} is no class of classnames.txt`)
  const there = new Set(folders)
  const classes = named.filter(({ wnid }) => there.has(wnid))
  if (classes.length === 0) throw new TrainError('bad_classes', `${files.root} has no class folders`)
  return classes
}

/** The images of every class that is `there`, in `base`/`folder`; only names are read. */
async function listClasses(
  files: Files,
  base: string,
  classes: readonly Class[],
  folder: string,
  split: Split,
  there: ReadonlySet<string>,
): Promise<Listed[]> {
  const listed: Listed[] = []
  for (let start = 0; start < classes.length; start += AT_ONCE) {
    const some = classes.slice(start, start + AT_ONCE).map(async ({ wnid, classname }, i) => {
      const below = folder === '' ? wnid : `${folder}/${wnid}`
      const names = there.has(wnid) ? await imagesIn(files, `${base}/${below}`) : []
      return names.map((name): Listed => ({ split, path: `${below}/${name}`, label: start + i, classname }))
    })
    for (const one of await Promise.all(some)) for (const item of one) listed.push(item)
  }
  return listed
}
