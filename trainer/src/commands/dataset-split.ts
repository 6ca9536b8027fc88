/** `dataset split`: a set's three lists as a split_zhou file, if asked with the images of a few-shot training. */
import type { Context } from '../command.ts'
import { kindOf } from '../datasets/disk.ts'
import { openDataset } from '../datasets/open.ts'
import { splitRows } from '../datasets/split-zhou.ts'
import { TrainError } from '../errors.ts'
import { toJson, writeDurably } from '../files.ts'
import { selectShots, selectValidation } from '../select.ts'

interface Options {
  data_sets: string
  root?: string | undefined
  out?: string | undefined
  seed: number
  shots?: number | undefined
  force: boolean
}

export async function split(target: string, options: Options, { print, terminal }: Context): Promise<unknown> {
  const { out, seed, shots, force } = options
  if (out === undefined) throw new TrainError('usage', 'dataset split: --out is missing', 'It is the file to write.')
  if (!force && (await kindOf(out, 'isFile')))
    throw new TrainError('exists', `${out} is there already`, 'Choose another --out, or replace it by --force.')
  const dataset = await openDataset(target, { ...options, terminal })
  if (dataset.layout === 'parquet')
    throw new TrainError(
      'bad_data',
      `the images of ${dataset.name} have no paths: they lie in parquet files`,
      '`cocoop-train dataset import` unpacks them, and writes a split file.',
    )
  const few_shot = shots === undefined ? undefined : { shots, seed, ...(await drawn()) }
  async function drawn() {
    const choice = { shots: shots ?? 0, seed, classes: 'all', allow_fewer: true } as const
    const paths = (items: { path: string }[]) => items.map(({ path }) => path)
    const [train, val] = [await selectShots(dataset, choice), await selectValidation(dataset, choice)]
    return { train: paths(train.items), val: paths(val.items) }
  }
  await writeDurably(out, toJson({ ...splitRows(dataset), ...(few_shot === undefined ? {} : { few_shot }) }))
  const counts = { train: dataset.train.length, val: dataset.val.length, test: dataset.test.length }
  print(`${out}: ${counts.train} train, ${counts.val} val, ${counts.test} test of ${dataset.name}`)
  if (few_shot !== undefined)
    print(
      `few_shot: ${few_shot.train.length} train, ${few_shot.val.length} val (${few_shot.shots} shots, seed ${seed})`,
    )
  return { path: out, name: dataset.name, ...counts, few_shot: few_shot ?? null }
}
