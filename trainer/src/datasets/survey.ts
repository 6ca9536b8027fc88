/** Looks at every image of a set: counts, sizes, and what would spoil a measurement. Nothing here stops at a problem. */
import { sha256 } from '../files.ts'
import { type Dataset, everyItem, SPLITS, type Split } from './dataset.ts'
import { type Inspector, type ReadOptions, readEach, type Skipped } from './read-each.ts'

const EXAMPLES = 5

export interface ClassCount extends Record<Split, number> {
  label: number
  classname: string
}

export interface Problem {
  kind:
    | 'unreadable'
    | 'train_test_duplicates'
    | 'other_class_duplicates'
    | 'one_image'
    | 'no_train_images'
    | 'no_test_images'
  message: string
  count: number
  /** The first few of them: paths or class names. */
  examples: string[]
}

export interface Survey {
  n_cls: number
  counts: Record<Split, number>
  classes: ClassCount[]
  /** The class with the fewest training images, or test images where there are none to train on. */
  smallest: ClassCount
  /** Most frequent first. */
  sizes: { width: number; height: number; count: number }[]
  problems: Problem[]
}

/** Reads all images once. Bad ones are a problem in the list, not an error. */
export async function survey(
  dataset: Dataset,
  inspector: Inspector,
  options: Pick<ReadOptions, 'onProgress' | 'signal'> = {},
): Promise<Survey> {
  const items = [...everyItem(dataset)].map(({ split, item }) => ({ ...item, split }))
  const skipped: Skipped[] = []
  const sizes = new Map<string, number>()
  const contents = new Map<string, typeof items>()
  for await (const { item, bytes, width, height } of readEach(items, inspector, {
    ...options,
    skipBad: true,
    onSkip: (bad) => skipped.push(bad),
  })) {
    const size = `${width}x${height}`
    sizes.set(size, (sizes.get(size) ?? 0) + 1)
    const hash = sha256(bytes)
    contents.set(hash, [...(contents.get(hash) ?? []), item])
  }
  const classes = countClasses(dataset)
  const split = dataset.train.length > 0 ? 'train' : 'test'
  const smallest = classes.reduce((least, one) => (one[split] < least[split] ? one : least))
  return {
    n_cls: classes.length,
    counts: { train: dataset.train.length, val: dataset.val.length, test: dataset.test.length },
    classes,
    smallest,
    sizes: [...sizes].sort(([, a], [, b]) => b - a).map(([size, count]) => ({ ...parseSize(size), count })),
    problems: [...unreadable(skipped), ...duplicates([...contents.values()]), ...thinClasses(dataset, classes)],
  }
}

/** Images per class and split. */
export function countClasses(dataset: Dataset): ClassCount[] {
  const classes = dataset.classnames.map((classname, label) => ({ label, classname, train: 0, val: 0, test: 0 }))
  for (const { split, item } of everyItem(dataset)) {
    const row = classes[item.label]
    if (row !== undefined) row[split] += 1
  }
  return classes
}

function unreadable(skipped: readonly Skipped[]): Problem[] {
  return problem(
    'unreadable',
    'images that cannot be read',
    skipped.map(({ message }) => message),
  )
}

/** The same bytes in train and in test make a test result worthless; under two classes they make one of them wrong. */
function duplicates(groups: readonly { path: string; classname: string; split: Split }[][]): Problem[] {
  const same = groups.filter(({ length }) => length > 1)
  const leaks = same.filter(
    (group) => group.some(({ split }) => split === 'train') && group.some(({ split }) => split === 'test'),
  )
  const torn = same.filter((group) => new Set(group.map(({ classname }) => classname)).size > 1)
  const show = (group: { path: string; classname: string }[]) =>
    group.map(({ path, classname }) => `${path} (${classname})`).join(' = ')
  return [
    ...problem('train_test_duplicates', 'images in both train and test', leaks.map(show)),
    ...problem('other_class_duplicates', 'images in more than one class', torn.map(show)),
  ]
}

function thinClasses(dataset: Dataset, classes: readonly ClassCount[]): Problem[] {
  const without = (split: Split) =>
    classes.filter((one) => dataset[split].length > 0 && one[split] === 0).map(({ classname }) => classname)
  const single = classes.filter((one) => SPLITS.reduce((sum, split) => sum + one[split], 0) === 1)
  return [
    ...problem(
      'one_image',
      'classes with a single image',
      single.map(({ classname }) => classname),
    ),
    ...problem('no_train_images', 'classes without training images', without('train')),
    ...problem('no_test_images', 'classes without test images', without('test')),
  ]
}

function problem(kind: Problem['kind'], message: string, found: readonly string[]): Problem[] {
  return found.length === 0 ? [] : [{ kind, message, count: found.length, examples: found.slice(0, EXAMPLES) }]
}

function parseSize(size: string): { width: number; height: number } {
  const [width = 0, height = 0] = size.split('x').map(Number)
  return { width, height }
}
