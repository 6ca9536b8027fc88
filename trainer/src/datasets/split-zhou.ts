/**
 * The `split_zhou_*.json` layout of the CoOp data sets: three lists of [path, label, class name].
 * Paths start at an image folder beside the file, whose name differs from set to set (images/, jpg/, 101_ObjectCategories/ ...),
 * or, as in StanfordCars, at the file's own folder. The first listed image tells which.
 */
import { basename } from 'node:path'
import { z } from 'zod'
import { TrainError } from '../errors.ts'
import { type Dataset, type Files, type Item, type Listed, lists, SPLITS, type Split, safePath } from './dataset.ts'

const Row = z.tuple([z.string(), z.int().nonnegative(), z.string().min(1)])
const File = z.object({ train: z.array(Row), val: z.array(Row), test: z.array(Row) })

/** Whether a file's name is that of a split. */
export function isSplitFile(name: string): boolean {
  return /^split_zhou_.+\.json$/.test(name)
}

export interface SplitOptions {
  /** Where the images are, for a set whose layout is known. */
  base?: string
  /** Two labels may have the same name, as in the papers' sets, whose labels are beyond doubt. */
  sameNames?: boolean
}

/**
 * Reads the set that `file`, a split file directly in `files`, lists.
 * @throws TrainError `bad_data`, `bad_label` or `bad_classes`, naming the file and the entry.
 */
export async function readSplitZhou(
  files: Files,
  file: string,
  name: string,
  { base, sameNames = false }: SplitOptions = {},
): Promise<Dataset> {
  const where = `${files.root}/${file}`
  const parsed = File.safeParse(parseJson(where, Buffer.from(await files.read(file)).toString('utf8')))
  if (!parsed.success) throw new TrainError('bad_data', `${where}: ${issueOf(parsed.error)}`)
  const listed = SPLITS.flatMap((split) =>
    parsed.data[split].map(([path, label, classname], i): Listed => {
      return { split, path: safePath(path, `${where}: ${split}[${i}], class "${classname}"`), label, classname }
    }),
  )
  const classnames = classnamesOf(where, listed, sameNames)
  return {
    name,
    root: files.root,
    layout: 'split_zhou',
    classnames,
    ...lists(listed, files, base ?? (await baseOf(files, where, listed[0]))),
  }
}

/** What a split file says of an image. */
export type Entry = Pick<Item, 'path' | 'label' | 'classname'>

/** What a split file of a set says. */
export function splitRows({ train, val, test }: Record<Split, readonly Entry[]>): Record<Split, unknown[]> {
  const rows = (items: readonly Entry[]) => items.map(({ path, label, classname }) => [path, label, classname])
  return { train: rows(train), val: rows(val), test: rows(test) }
}

/** The class names by label. Labels have no holes, a label one name, and a name one label. */
function classnamesOf(where: string, listed: readonly Listed[], sameNames: boolean): string[] {
  if (listed.length === 0) throw new TrainError('bad_classes', `${where} lists no images, so there are no classes`)
  const names = new Map<number, string>()
  const labels = new Map<string, number>()
  for (const { path, label, classname } of listed) {
    const [name, other] = [names.get(label), labels.get(classname)]
    if (name !== undefined && name !== classname) {
      throw new TrainError('bad_label', `${where}: label ${label} is "${name}", but "${classname}" for ${path}`)
    }
    if (other !== undefined && other !== label && !sameNames) {
      throw new TrainError(
        'bad_classes',
        `${where}: the class "${classname}" has the labels ${other} and ${label} (${path})`,
      )
    }
    names.set(label, classname)
    labels.set(classname, label)
  }
  const sorted = [...names].sort(([a], [b]) => a - b)
  const hole = sorted.findIndex(([label], i) => label !== i)
  if (hole >= 0)
    throw new TrainError(
      'bad_label',
      `${where}: no image has the label ${hole}, though labels go to ${sorted.at(-1)?.[0]}`,
    )
  return sorted.map(([, classname]) => classname)
}

async function baseOf(files: Files, where: string, first: Listed | undefined): Promise<string> {
  const path = first?.path ?? ''
  const folders = await files.folders('')
  for (const base of ['images', '', ...folders])
    if (await files.has(base === '' ? path : `${base}/${path}`)) return base
  const message = `${where}: ${path} of class "${first?.classname}" is missing: it is neither beside ${basename(where)} nor in a folder there`
  throw new TrainError('bad_data', message)
}

function parseJson(where: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new TrainError('bad_data', `${where} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
}

/** `train[3][1]: expected int, received string`. */
function issueOf(error: z.ZodError): string {
  const [issue] = error.issues
  const place = (issue?.path ?? [])
    .map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i === 0 ? '' : '.'}${String(key)}`))
    .join('')
  return `${place === '' ? 'the file' : place}: ${issue?.message.replace(/^Invalid input: /, '')}`
}
