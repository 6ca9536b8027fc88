/**
 * Makes the three lists of a paper's set from what its authors publish, as the original does where a split file is missing.
 * Images are cut by CPython's `random.shuffle`, whose generator goes from class to class. The original takes the files of a folder in the
 * order in which the file system lists them; here they are sorted, so a cut is the same on every machine.
 */
import { shuffles } from 'cocoop/node'
import { TrainError } from '../../errors.ts'
import type { Files, Listed, Split } from '../dataset.ts'
import { imagesIn, visibleFolders } from '../folders.ts'
import { linesOf } from '../text-lines.ts'

/** Three lists in one, and what their labels mean. Paths start at `base`, a folder of the set. */
export interface Lists {
  classnames: string[]
  listed: Listed[]
  base: string
  /** The test images are those to validate on too. */
  val_is_test?: true
}

type Unsplit = Omit<Listed, 'split'>

/** Half of each class folder of `base` to learn from, 20 % to validate, the rest to test: Caltech101, Food101, EuroSAT and DTD. */
export function fromClassFolders(
  base: string,
  { without = [], renamed = {} }: { without?: readonly string[]; renamed?: Record<string, string> } = {},
): (files: Files, seed: number) => Promise<Lists> {
  return async (files, seed) => {
    const folders = (await visibleFolders(files, base)).filter((name) => !without.includes(name))
    const classes = await Promise.all(
      folders.map(async (folder, label): Promise<Unsplit[]> => {
        const names = await imagesIn(files, `${base}/${folder}`)
        return names.map((name) => ({ path: `${folder}/${name}`, label, classname: renamed[folder] ?? folder }))
      }),
    )
    const shuffled = await shuffleEach(classes, seed)
    const cut = shuffled.flatMap((items) => {
      const train = roundHalfEven(items.length * 0.5)
      const val = roundHalfEven(items.length * 0.2)
      if (Math.min(train, val, items.length - train - val) < 1) throw tooFew(files, items, 'train, val and test')
      return items.map((item, i) => ({ ...item, split: splitAt(i, train, train + val) }))
    })
    return { classnames: folders.map((folder) => renamed[folder] ?? folder), listed: cut, base }
  }
}

/** OxfordPets: the breed is the file's name without its number. */
export async function fromPets(files: Files, seed: number): Promise<Lists> {
  const read = async (file: string): Promise<Unsplit[]> =>
    (await linesOf(files, file)).map(({ text, where }) => {
      const [image = '', id = ''] = text.split(' ')
      const label = Number(id) - 1
      if (!Number.isInteger(label) || label < 0 || !image.includes('_'))
        throw new TrainError('bad_data', `${where}: expected "Breed_number class ...", got "${text}"`)
      return { path: `${image}.jpg`, label, classname: image.slice(0, image.lastIndexOf('_')).toLowerCase() }
    })
  return withVal(files, await read('annotations/trainval.txt'), await read('annotations/test.txt'), 'images', seed)
}

/** SUN397: `/c/church/indoor` is "indoor church". */
export async function fromSun(files: Files, seed: number): Promise<Lists> {
  const categories = (await linesOf(files, 'ClassName.txt')).map(({ text }) => text.slice(1))
  const labels = new Map(categories.map((category, label) => [category, label]))
  const read = async (file: string): Promise<Unsplit[]> =>
    (await linesOf(files, file)).map(({ text, where }) => {
      const path = text.slice(1)
      const category = path.slice(0, path.lastIndexOf('/'))
      const label = labels.get(category)
      if (label === undefined)
        throw new TrainError('bad_classes', `${where}: "/${category}" is no class of ClassName.txt`)
      return { path, label, classname: category.split('/').slice(1).reverse().join(' ') }
    })
  return withVal(files, await read('Training_01.txt'), await read('Testing_01.txt'), 'SUN397', seed)
}

/** UCF101: `ApplyEyeMakeup` is "Apply_Eye_Makeup"; a video's image is its middle frame. */
export async function fromUcf(files: Files, seed: number): Promise<Lists> {
  const ids = (await linesOf(files, 'ucfTrainTestlist/classInd.txt')).map(({ text, where }) => {
    const [id = '', action = ''] = text.split(' ')
    if (!/^[1-9]\d*$/.test(id) || action === '')
      throw new TrainError('bad_data', `${where}: expected "number Action", got "${text}"`)
    return [action, Number(id) - 1] as const
  })
  const labels = new Map(ids)
  const read = async (file: string): Promise<Unsplit[]> =>
    (await linesOf(files, file)).map(({ text, where }) => {
      const [action = '', video = ''] = (text.split(' ')[0] ?? '').split('/')
      const label = labels.get(action)
      if (label === undefined) throw new TrainError('bad_classes', `${where}: "${action}" is no class of classInd.txt`)
      const classname = (action.match(/[A-Z][^A-Z]*/g) ?? []).join('_')
      return { path: `${classname}/${video.replace('.avi', '.jpg')}`, label, classname }
    })
  const [train, test] = [await read('ucfTrainTestlist/trainlist01.txt'), await read('ucfTrainTestlist/testlist01.txt')]
  return withVal(files, train, test, 'UCF-101-midframes', seed)
}

/** FGVCAircraft comes with three lists: nothing is cut. */
export async function fromAircraft(files: Files): Promise<Lists> {
  const classnames = (await linesOf(files, 'variants.txt')).map(({ text }) => text)
  const labels = new Map(classnames.map((classname, label) => [classname, label]))
  const read = async (split: Split): Promise<Listed[]> =>
    (await linesOf(files, `images_variant_${split}.txt`)).map(({ text, where }) => {
      const [image = '', ...words] = text.split(' ')
      const classname = words.join(' ')
      const label = labels.get(classname)
      if (label === undefined) throw new TrainError('bad_classes', `${where}: "${classname}" is not in variants.txt`)
      return { split, path: `${image}.jpg`, label, classname }
    })
  const listed = [...(await read('train')), ...(await read('val')), ...(await read('test'))]
  return { classnames, listed, base: 'images' }
}

/** The official test list as it is; of the other one 20 % of each class, in the order of their first appearance, to validate. */
async function withVal(files: Files, trainval: Unsplit[], test: Unsplit[], base: string, seed: number): Promise<Lists> {
  const classes = [...Map.groupBy(trainval, ({ label }) => label).values()]
  const cut = (await shuffleEach(classes, seed)).map((items) => {
    const n_val = roundHalfEven(items.length * 0.2)
    if (n_val < 1) throw tooFew(files, items, 'train and val')
    return { val: items.slice(0, n_val), train: items.slice(n_val) }
  })
  const as = (split: Split, items: Unsplit[]) => items.map((item) => ({ ...item, split }))
  const listed = [
    ...cut.flatMap(({ train }) => as('train', train)),
    ...cut.flatMap(({ val }) => as('val', val)),
    ...as('test', test),
  ]
  const names = new Map(listed.map(({ label, classname }) => [label, classname]))
  const hole = Array.from({ length: names.size }, (_, label) => label).find((label) => !names.has(label))
  if (hole !== undefined)
    throw new TrainError('bad_label', `${files.root}: no image has the label ${hole} of ${names.size}`)
  return { classnames: [...names].sort(([a], [b]) => a - b).map(([, classname]) => classname), listed, base }
}

async function shuffleEach<T>(lists: readonly T[][], seed: number): Promise<T[][]> {
  const orders = await shuffles({ sizes: lists.map(({ length }) => length), seed })
  return lists.map((items, i) => (orders[i] ?? []).map((j) => items[j]!))
}

function splitAt(i: number, val: number, test: number): Split {
  return i < val ? 'train' : i < test ? 'val' : 'test'
}

/** Python's `round`. */
function roundHalfEven(x: number): number {
  const floor = Math.floor(x)
  return x - floor === 0.5 ? floor + (floor % 2) : Math.round(x)
}

function tooFew(files: Files, items: readonly Unsplit[], splits: string): TrainError {
  const message = `${files.root}: class "${items[0]?.classname}" has ${items.length} images, too few to be cut into ${splits}`
  return new TrainError('too_few_images', message, 'Is the download complete? `cocoop-train dataset check` counts.')
}
