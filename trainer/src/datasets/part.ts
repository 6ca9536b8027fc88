/** Part of a data set: the images whose path contains a text, such as a maker's or a style's name. The classes stay the whole set's. */
import { TrainError } from '../errors.ts'
import { type Dataset, type Item, SPLITS } from './dataset.ts'

/** `NAME@TEXT` as its two halves; `undefined` where nothing is asked for but a whole set. */
export function splitTarget(target: string): { whole: string; text: string } | undefined {
  const at = target.lastIndexOf('@')
  if (at < 1 || at === target.length - 1) return undefined
  return { whole: target.slice(0, at), text: target.slice(at + 1) }
}

/**
 * The images of `set` whose path contains `text`, as a set of the name `NAME@TEXT`.
 * @throws TrainError `bad_data` if there are none
 */
export function partOf(set: Dataset, text: string): Dataset {
  const only = (items: readonly Item[]) => items.filter(({ path }) => path.includes(text))
  const part = { ...set, name: `${set.name}@${text}`, train: only(set.train), val: only(set.val), test: only(set.test) }
  if (SPLITS.some((split) => part[split].length > 0)) return part
  const example = SPLITS.flatMap((split) => set[split].slice(0, 1))[0]?.path
  throw new TrainError(
    'bad_data',
    `no image of ${set.name} has "${text}" in its path, which is one like ${example ?? 'none'}`,
  )
}
