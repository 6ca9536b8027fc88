/**
 * A folder of class folders: `cat/1.png`, or `train/cat/1.png`, `val/...`, `test/...` where the splits are given.
 * Classes are sorted by code point. What is not an image by its name is left alone; `.` hides files and folders.
 */
import { TrainError } from '../errors.ts'
import { cut } from './cut.ts'
import { type Dataset, type Files, isSplit, lists, type Split, withLabels } from './dataset.ts'

const IMAGE = /^[^.].*\.(png|jpe?g|webp|gif)$/i

/**
 * Lists the images below `files`. The folders are splits if each of them is called train, val or test.
 * @throws TrainError `bad_classes` if there are no class folders, `too_few_images` if a class has no image or too few to be cut.
 */
export async function readFolders(files: Files, name: string, seed: number): Promise<Dataset> {
  const top = await visible(files, '')
  const given = top.length > 0 && top.every((folder) => isSplit(folder))
  const images = given
    ? (await Promise.all(top.map((split) => readClasses(files, split)))).flat()
    : await readClasses(files, '')
  const { classnames, listed } = withLabels(images)
  const split = given ? listed.map((item) => ({ ...item, split: splitOf(item.path) })) : cut(listed, seed, files.root)
  return { name, root: files.root, layout: 'folders', classnames, ...lists(split, files) }
}

/** The images of every class folder directly in `folder`, however deep they lie in it. */
async function readClasses(files: Files, folder: string): Promise<{ path: string; classname: string }[]> {
  const classes = await visible(files, folder)
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

/** The split whose folder the path is in. */
function splitOf(path: string): Split {
  const folder = path.split('/', 1)[0] ?? ''
  return isSplit(folder) ? folder : 'train'
}

async function walk(files: Files, folder: string): Promise<string[]> {
  const here = (await files.files(folder)).filter((name) => IMAGE.test(name)).map((name) => `${folder}/${name}`)
  const deeper = await Promise.all((await visible(files, folder)).map((name) => walk(files, `${folder}/${name}`)))
  return [...here, ...deeper.flat()]
}

async function visible(files: Files, folder: string): Promise<string[]> {
  return (await files.folders(folder)).filter((name) => !name.startsWith('.'))
}
