/**
 * Cuts a data set that comes without splits into train, val and test: 50, 20 and 30 % of each class, as the originals do.
 * Which image goes where depends on the seed and the image's path alone, so it is the same on every machine and in every run.
 */
import { createHash } from 'node:crypto'
import { TrainError } from '../errors.ts'
import { byCodePoint, type Listed, type Split } from './dataset.ts'

const [VAL, TEST] = [0.2, 0.3]
const LEAST = 3

/**
 * Gives every image a split; within a split they keep their order.
 * @throws TrainError `too_few_images` for a class of fewer than three: each split needs one.
 */
export function cut(listed: readonly Omit<Listed, 'split'>[], seed: number, where: string): Listed[] {
  const splits = new Map<string, Split>()
  for (const [classname, items] of Map.groupBy(listed, (item) => item.classname)) {
    const n = items.length
    if (n < LEAST) {
      const message = `${where}: class "${classname}" has ${n} image${n === 1 ? '' : 's'}, ${LEAST} are needed to cut it into train, val and test`
      throw new TrainError(
        'too_few_images',
        message,
        'Add images, or give the splits yourself: folders train/ and test/, or a `split` column.',
      )
    }
    const paths = items.map(({ path }) => ({ path, key: rank(seed, path) })).sort((a, b) => byCodePoint(a.key, b.key))
    const test = Math.max(1, Math.round(TEST * n))
    const val = Math.max(1, Math.round(VAL * n))
    for (const [i, { path }] of paths.entries()) splits.set(path, i < test ? 'test' : i < test + val ? 'val' : 'train')
  }
  return listed.map((item) => ({ ...item, split: splits.get(item.path) ?? 'train' }))
}

function rank(seed: number, path: string): string {
  return createHash('sha256').update(`${seed}/${path}`).digest('hex')
}
