/** Which images of a data set a command works on: the shots to learn from, or a split to be tested on, of all classes or one half. */
import { createHash } from 'node:crypto'
import { fewShot, subsample } from 'cocoop/node'
import type { Dataset, Item, Split } from './datasets/dataset.ts'
import { TrainError } from './errors.ts'

export type Classes = 'all' | 'base' | 'new'

/** Images with labels counted from 0 among `classnames`, which are those of the chosen classes. */
export interface Selected {
  classnames: string[]
  items: Item[]
  labels: number[]
}

/**
 * The images of one split, of the chosen classes.
 * @throws TrainError `bad_data` if there are none.
 */
export async function selectSplit(dataset: Dataset, split: Split, classes: Classes): Promise<Selected> {
  const selected = await only(dataset, dataset[split], classes)
  if (selected.items.length > 0) return selected
  const which = classes === 'all' ? '' : ` of ${classes} classes`
  throw new TrainError('bad_data', `the data set ${dataset.name} has no ${split} images${which}`)
}

/** How training images are chosen. */
export interface Choice {
  shots: number
  seed: number
  classes: Classes
  allow_fewer: boolean
}

/**
 * The training images as the originals choose them: `shots` per class (0: all), then the cut into base and new.
 * @throws TrainError `too_few_images` naming the class, unless `allow_fewer`; `bad_data` for a set without training images.
 */
export async function selectShots(dataset: Dataset, choice: Choice): Promise<Selected> {
  if (dataset.train.length === 0) {
    throw new TrainError(
      'bad_data',
      `the data set ${dataset.name} has no training images`,
      'It can be used by `eval` and `zero-shot`.',
    )
  }
  const { train } = await drawn(dataset, choice)
  const selected = await only(dataset, train, choice.classes)
  if (!choice.allow_fewer) refuseTooFew(dataset, selected, Math.max(1, choice.shots))
  return selected
}

/** The validation images that go with them: at most four per class, drawn after them. None where the set has none. */
export async function selectValidation(dataset: Dataset, choice: Choice): Promise<Selected> {
  const { val } = await drawn(dataset, choice)
  return await only(dataset, val, choice.classes)
}

async function drawn(dataset: Dataset, { shots, seed }: Choice): Promise<{ train: Item[]; val: Item[] }> {
  const labels = dataset.train.map(({ label }) => label)
  const val_labels = dataset.val.map(({ label }) => label)
  const { train, val } = await fewShot({ labels, shots, val_labels, seed })
  return {
    train: train.flatMap((index) => dataset.train[index] ?? []),
    val: val.flatMap((index) => dataset.val[index] ?? []),
  }
}

/** SHA-256 over the images' bytes, labels and class names, in order: what exactly was learned from. */
export function fingerprint(selected: Selected, images: readonly Uint8Array[]): string {
  const hash = createHash('sha256').update(JSON.stringify([selected.classnames, selected.labels]))
  for (const image of images) hash.update(`\n${image.length}\n`).update(image)
  return hash.digest('hex')
}

/** The names of the chosen classes. */
export async function selectClasses(dataset: Dataset, classes: Classes): Promise<string[]> {
  return (await labelsOf(dataset, classes)).map((label) => dataset.classnames[label] ?? '')
}

async function only(dataset: Dataset, items: readonly Item[], classes: Classes): Promise<Selected> {
  const place = new Map((await labelsOf(dataset, classes)).map((label, i) => [label, i]))
  const inside = items.filter(({ label }) => place.has(label))
  return {
    classnames: await selectClasses(dataset, classes),
    items: inside,
    labels: inside.map(({ label }) => place.get(label) ?? 0),
  }
}

/** The cut looks at the labels of the training list, as the originals' does, or where there is none at those of the test list. */
async function labelsOf(dataset: Dataset, classes: Classes): Promise<number[]> {
  if (classes === 'all') return dataset.classnames.map((_, label) => label)
  const items = dataset.train.length > 0 ? dataset.train : dataset.test
  return (
    await subsample(
      Uint32Array.from(items, ({ label }) => label),
      classes,
    )
  ).classes
}

function refuseTooFew(dataset: Dataset, { classnames, labels }: Selected, shots: number): void {
  const counts = classnames.map(() => 0)
  for (const label of labels) counts[label] = (counts[label] ?? 0) + 1
  const short = counts.findIndex((count) => count < shots)
  if (short < 0) return
  const message = `class "${classnames[short]}" of ${dataset.name} has ${counts[short]} training images, ${shots} are needed`
  throw new TrainError('too_few_images', message)
}
