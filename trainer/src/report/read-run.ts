/** What a run's folder says of it, checked; what is missing because the run is not finished, or has none of it, is absent. */
import { existsSync } from 'node:fs'
import { open, readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { byCodePoint } from '../datasets/dataset.ts'
import { TrainError } from '../errors.ts'
import { readJson } from '../files.ts'
import { type Config, openConfig } from '../runs/config.ts'
import type { TrainOptions } from '../runs/options.ts'
import { type Prediction, TestFile } from '../runs/test.ts'

/** Of result.json, what a report shows. */
const Result = z.object({ seconds: z.number().nullish(), images_per_second: z.number().nullish() })
const count = z.int().nonnegative()
const Predicted = z.object({
  path: z.string(),
  label: count,
  predicted: count,
  prob: z.number(),
  prob_label: z.number(),
}) satisfies z.ZodType<Prediction>

/** One test: its figures in percent, and its images where they are there. */
export type Test = TestFile & { images: Prediction[] }

/** Training as it was written down: one entry for each step, and for each epoch its accuracy in percent. */
export interface Curves {
  steps: number[]
  /** NaN where the loss was no number. */
  loss: number[]
  lr: number[]
  epochs: { step: number; epoch: number; loss: number; accuracy: number }[]
}

export interface Run {
  folder: string
  /** The folder's own name. */
  name: string
  config: Config & { options: TrainOptions }
  method: TrainOptions['method']
  result: z.infer<typeof Result> | undefined
  tests: Test[]
  curves: Curves
}

/** Whether a folder holds a run. */
export function holdsRun(folder: string): boolean {
  return existsSync(join(folder, 'config.json'))
}

/**
 * Reads a run, finished or not.
 * @throws TrainError `not_found` if there is none, `bad_checkpoint` and `bad_data` naming the file that is not a run's
 */
export async function readRun(folder: string): Promise<Run> {
  if (!holdsRun(folder))
    throw new TrainError('not_found', `${folder} holds no run`, 'A run is a folder that `cocoop-train train` made.')
  const config = await openConfig(folder)
  const result = await readJson(join(folder, 'result.json'))
  return {
    folder,
    name: basename(folder),
    config,
    method: config.options.method,
    result: result === undefined ? undefined : parse(Result, result, join(folder, 'result.json')),
    tests: await readTests(join(folder, 'tests')),
    curves: await readCurves(join(folder, 'metrics.jsonl')),
  }
}

async function readTests(folder: string): Promise<Test[]> {
  if (!existsSync(folder)) return []
  const names = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort(byCodePoint)
  return await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name)
      const tested = parse(TestFile, await readJson(path), path)
      return { ...tested, images: await readImages(path.replace(/\.json$/, '.jsonl'), tested.classnames.length) }
    }),
  )
}

async function readImages(path: string, n_cls: number): Promise<Prediction[]> {
  if (!existsSync(path)) return []
  const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '')
  return lines.map((line, i) => {
    const where = `${path}, line ${i + 1}`
    const image = parse(Predicted, json(line), where)
    if (image.label < n_cls && image.predicted < n_cls) return image
    throw new TrainError('bad_data', `${where}: class ${Math.max(image.label, image.predicted)} of ${n_cls}`)
  })
}

/** Reads line by line: a long run's file is larger than what is kept of it. A line that was torn by a crash is passed over. */
async function readCurves(path: string): Promise<Curves> {
  const curves: Curves = { steps: [], loss: [], lr: [], epochs: [] }
  if (!existsSync(path)) return curves
  await using file = await open(path)
  for await (const line of file.readLines()) {
    const record = json(line) as Partial<Record<string, unknown>> | undefined
    const number = (name: string) => (typeof record?.[name] === 'number' ? record[name] : Number.NaN)
    if (record?.kind === 'step') {
      curves.steps.push(number('step'))
      curves.loss.push(number('loss'))
      curves.lr.push(number('lr'))
    } else if (record?.kind === 'epoch') {
      const [step, epoch, loss] = [number('step'), number('epoch'), number('loss')]
      curves.epochs.push({ step, epoch, loss, accuracy: 100 * number('accuracy') })
    }
  }
  return curves
}

function json(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

function parse<S extends z.ZodType>(schema: S, value: unknown, where: string): z.output<S> {
  const { success, data, error } = schema.safeParse(value)
  if (success) return data
  const issue = error.issues[0]
  throw new TrainError(
    'bad_data',
    `${where}: ${issue?.path.join('.') || 'the document'}: ${issue?.message ?? 'does not fit'}`,
  )
}
