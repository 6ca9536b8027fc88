/**
 * What is looked at before a training starts: the lists and names of the set, and of each chosen file its length and both its ends.
 * Whole files are read only where these say that two may be the same, so it takes seconds where reading the set takes minutes.
 * Not a proof that images decode: training images are decoded when they are read, test images when they are tested on.
 */
import type { Context } from '../command.ts'
import { TrainError } from '../errors.ts'
import { sha256 } from '../files.ts'
import type { Dataset, Item, Split } from './dataset.ts'
import { imageType } from './image-type.ts'
import {
  countClasses,
  describe,
  duplicates,
  equalNames,
  longNames,
  type Problem,
  type PromptLength,
  thinClasses,
  unreadable,
} from './problems.ts'

/** Files that are looked at a time. */
const AT_ONCE = 64

export interface Preflight {
  dataset: Dataset
  /** The images to learn from. */
  train: readonly Item[]
  /** Those that the result will be tested on. */
  test: readonly Item[]
  /** The classes of both. */
  classnames: readonly string[]
  /** What is learned; absent where no prompt is. */
  prompt?: PromptLength | undefined
  skipBad: boolean
}

/**
 * Warns of what would spoil the result, one line for each kind of problem, and returns all of them.
 * @throws TrainError `bad_data` for files that are missing, empty or no images, unless `skipBad`; `text_too_long` for class names that
 * do not fit the prompt
 */
export async function preflight(
  { dataset, train, test, classnames, prompt, skipBad }: Preflight,
  { terminal, signal }: Pick<Context, 'terminal' | 'signal'>,
): Promise<Problem[]> {
  const files = await compareFiles([...withSplit(train, 'train'), ...withSplit(test, 'test')], (done, all) => {
    signal.throwIfAborted()
    terminal.status(`checking files ${done}/${all}`)
  })
  const long = prompt === undefined ? [] : longNames(classnames, prompt)
  const warnings = [
    ...files.duplicates,
    ...thinClasses(dataset, countClasses(dataset)),
    ...equalNames(classnames),
    ...(skipBad ? files.unreadable : []),
  ]
  terminal.clear()
  for (const found of warnings) terminal.warn(`${dataset.name}: ${describe(found)}`)
  stopAt(dataset, 'text_too_long', long)
  if (!skipBad) stopAt(dataset, 'bad_data', files.unreadable)
  return [...warnings, ...(skipBad ? [] : files.unreadable), ...long]
}

function stopAt({ name }: Dataset, code: string, [found]: Problem[]): void {
  if (found !== undefined) throw new TrainError(code, `${name}: ${describe(found)}`)
}

interface Placed {
  split: Split
  item: Item
}

function withSplit(items: readonly Item[], split: Split): Placed[] {
  return items.map((item) => ({ split, item }))
}

/** Finds what is no image, and what is the same in train and test or under two classes. */
async function compareFiles(
  images: readonly Placed[],
  onProgress: (done: number, all: number) => void,
): Promise<{ unreadable: Problem[]; duplicates: Problem[] }> {
  const bad: string[] = []
  const alike = new Map<string, Placed[]>()
  for (let start = 0; start < images.length; start += AT_ONCE) {
    onProgress(start, images.length)
    const some = images.slice(start, start + AT_ONCE)
    for (const [i, result] of (await Promise.allSettled(some.map(({ item }) => item.peek()))).entries()) {
      const image = some[i]!
      const { source, classname } = image.item
      if (result.status === 'rejected') bad.push(messageOf(result.reason))
      else if (imageType(result.value.head) === undefined)
        bad.push(`${source} of class "${classname}" is ${result.value.size === 0 ? 'empty' : 'no image'}`)
      else {
        const { size, tail } = result.value
        const key = `${size} ${Buffer.from(tail).toString('base64')}`
        const group = alike.get(key)
        if (group === undefined) alike.set(key, [image])
        else group.push(image)
      }
    }
  }
  const same: Placed[][] = []
  for (const group of alike.values()) if (isBad(group)) same.push(...(await byContent(group)).filter(isBad))
  return { unreadable: unreadable(bad), duplicates: duplicates(same) }
}

/** Whether images would be a problem if they were the same. */
function isBad(group: readonly Placed[]): boolean {
  const [first] = group
  return group.some(({ split, item }) => split !== first?.split || item.classname !== first.item.classname)
}

async function byContent(group: readonly Placed[]): Promise<Placed[][]> {
  const hashes: { hash: string; image: Placed }[] = []
  for (const image of group) hashes.push({ hash: sha256(await image.item.read()), image })
  return [...Map.groupBy(hashes, ({ hash }) => hash).values()].map((same) => same.map(({ image }) => image))
}

function messageOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason)
}
