/** Looks at every image of a set: counts, sizes, and what would spoil a measurement. Nothing here stops at a problem. */
import { sha256 } from '../files.ts'
import { type Dataset, everyItem, type Split } from './dataset.ts'
import {
  type ClassCount,
  countClasses,
  duplicates,
  equalNames,
  type Problem,
  thinClasses,
  unreadable,
} from './problems.ts'
import { type Inspector, type ReadOptions, readEach, type Skipped } from './read-each.ts'

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
  const every = [...everyItem(dataset)]
  const items = every.map(({ item }) => item)
  const skipped: Skipped[] = []
  const sizes = new Map<string, number>()
  const contents = new Map<string, typeof every>()
  for await (const { index, bytes, width, height } of readEach(items, inspector, {
    ...options,
    skipBad: true,
    onSkip: (bad) => skipped.push(bad),
  })) {
    const size = `${width}x${height}`
    sizes.set(size, (sizes.get(size) ?? 0) + 1)
    const hash = sha256(bytes)
    contents.set(hash, [...(contents.get(hash) ?? []), every[index]!])
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
    problems: [
      ...unreadable(skipped.map(({ message }) => message)),
      ...duplicates([...contents.values()]),
      ...thinClasses(dataset, classes),
      ...equalNames(dataset.classnames),
    ],
  }
}

function parseSize(size: string): { width: number; height: number } {
  const [width = 0, height = 0] = size.split('x').map(Number)
  return { width, height }
}
