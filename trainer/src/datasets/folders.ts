/**
 * A folder of class folders: `cat/1.png`, or `train/cat/1.png`, `val/...`, `test/...` where the splits are given.
 * Classes are sorted by code point. What is not an image by its name is left alone; `.` hides files and folders.
 */
import { TrainError } from '../errors.ts'
import { cut } from './cut.ts'
import { type Dataset, type Files, lists, splitOf, withLabels } from './dataset.ts'

const IMAGE = /^[^.].*\.(png|jpe?g|webp|gif)$/i

/** Names of the images that lie directly in `folder`. */
export async function imagesIn(files: Files, folder: string): Promise<string[]> {
  return (await files.files(folder)).filter((name) => IMAGE.test(name))
}

/** Names of the folders directly in `folder` that are not hidden. */
export async function visibleFolders(files: Files, folder: string): Promise<string[]> {
  return (await files.folders(folder)).filter((name) => !name.startsWith('.'))
}

/**
 * Lists the images below `files`. The folders are splits if each of them is called as one.
 * @throws TrainError `bad_classes` if there are no class folders, `too_few_images` if a class has no image or too few to be cut.
 */
export async function readFolders(files: Files, name: string, seed: number): Promise<Dataset> {
  const top = await visibleFolders(files, '')
  const given = top.length > 0 && top.every((folder) => splitOf(folder) !== undefined)
  const images = given
    ? (await Promise.all(top.map((split) => readClasses(files, split)))).flat()
    : await readClasses(files, '')
  const { classnames, listed } = withLabels(images)
  const split = given
    ? listed.map((item) => ({ ...item, split: splitOf(item.path.split('/', 1)[0] ?? '') ?? 'train' }))
    : cut(listed, seed, files.root)
  return { name, root: files.root, layout: 'folders', classnames, ...lists(split, files) }
}

/** The images of every class folder directly in `folder`, however deep they lie in it. */
async function readClasses(files: Files, folder: string): Promise<{ path: string; classname: string }[]> {
  const classes = await visibleFolders(files, folder)
  const where = folder === '' ? files.root : `${files.root}/${folder}`
  if (classes.length === 0) {
    const hint = 'Each class is a folder of its images, named after the class.'
    throw new TrainError('bad_classes', `${where} has no class folders`, hint)
  }
  const images = await Promise.all(
    classes.map(async (classname) => {
      const paths = await walk(files, folder === '' ? classname : `${folder}/${classname}`)
      if (paths.length > 0) return paths.map((path) => ({ path, classname }))
      const message = `${where}: class "${classname}" has no images (png, jpg, jpeg, webp, gif)`
      throw new TrainError('too_few_images', message, 'Add images or remove the folder.')
    }),
  )
  return images.flat()
}

async function walk(files: Files, folder: string): Promise<string[]> {
  const here = (await imagesIn(files, folder)).map((name) => `${folder}/${name}`)
  const deeper = await Promise.all(
    (await visibleFolders(files, folder)).map((name) => walk(files, `${folder}/${name}`)),
  )
  return [...here, ...deeper.flat()]
}
