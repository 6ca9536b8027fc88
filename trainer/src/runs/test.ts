/**
 * Tests of a run. Each leaves two files in the run's folder: tests/DATA-CLASSES.json, its figures, and tests/DATA-CLASSES.jsonl, a line
 * for each image, from which every diagram of a report is made.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { nativeEngine } from 'cocoop/node'
import { z } from 'zod'
import type { Context } from '../command.ts'
import type { Dataset } from '../datasets/dataset.ts'
import { openDataset } from '../datasets/open.ts'
import { TrainError } from '../errors.ts'
import { type Figures, figures, type Tested } from '../evaluate.ts'
import { FeatureCache } from '../feature-cache.ts'
import { readJson, toJson, writeDurably } from '../files.ts'
import { type Encoder, imageFeatures } from '../image-features.ts'
import type { Embedded, ReadOptions } from '../images.ts'
import { openModel } from '../models.ts'
import { type Classes, selectSplit } from '../select.ts'
import { openConfig } from './config.ts'
import { openPredictor, type Predictor } from './predictor.ts'
import { finishedRun } from './result.ts'

/** What a run is to be tested on: the test split of a data set, of all classes or one half. */
export interface TestRequest {
  data: string
  classes: Classes
}

const percent = z.number()
const count = z.number().int()

/** tests/DATA-CLASSES.json. Percent but for the counts. */
export const TestFile = z.object({
  data: z.string(),
  classes: z.enum(['all', 'base', 'new']),
  split: z.literal('test'),
  n_cls: count,
  total: count,
  correct: count,
  accuracy: percent,
  macro_f1: percent,
  ece: percent,
  classnames: z.array(z.string()),
  /** What opens the data set again: --data, and --root where it was given. */
  source: z.object({ data: z.string(), root: z.string().optional() }).optional(),
  per_class: z.array(z.object({ classname: z.string(), total: count, correct: count, accuracy: percent, f1: percent })),
})
export type TestFile = z.infer<typeof TestFile>

/** A line of tests/DATA-CLASSES.jsonl. Labels are positions in `classnames`; `prob` is that of the predicted class. */
export interface Prediction {
  path: string
  label: number
  predicted: number
  prob: number
  prob_label: number
}

/** A data set, and the words that opened it. */
export interface TestedSet {
  dataset: Dataset
  source: { data: string; root?: string | undefined }
}

/** Where a test of a run lies, without its ending. */
export function testPath(folder: string, dataset: string, classes: Classes): string {
  return join(folder, 'tests', `${dataset}-${classes}`)
}

/**
 * Tests what a run made, and leaves the files of the test in its folder.
 * @throws TrainError `class_mismatch` where it is bound to other classes; as `imageFeatures`
 */
export async function test(
  folder: string,
  encoder: Encoder,
  predictor: Predictor,
  { dataset, source }: TestedSet,
  classes: Classes,
  reading: ReadOptions,
): Promise<Figures> {
  const selected = await selectSplit(dataset, 'test', classes)
  const images = await imageFeatures(encoder, selected, reading, predictor.normalized)
  const tested = await predictor.test(images)
  const path = testPath(folder, dataset.name, classes)
  const about = { data: dataset.name, classes, split: 'test', ...figures(tested) } as const
  const { per_class } = tested.score
  const file: TestFile = { ...about, classnames: images.classnames, source, per_class }
  await writeDurably(`${path}.jsonl`, predictions(images, tested))
  await writeDurably(`${path}.json`, toJson(file)) // the last: a test that has one is whole
  return figures(tested)
}

/**
 * The figures of a finished run on a data set: from its folder, or tested now.
 * @throws TrainError `not_found` if there is no finished run; `model_mismatch` if its model is another one now; as {@link test}
 */
export async function testRun(
  folder: string,
  { data, classes }: TestRequest,
  flags: { skip_bad: boolean; cache: boolean; root?: string | undefined },
  context: Context,
): Promise<Figures> {
  if ((await finishedRun(folder)) === undefined)
    throw new TrainError('not_found', `${folder} holds no finished run`, 'Go on with it by `train --resume --out DIR`.')
  const config = await openConfig(folder)
  const root = flags.root ?? config.options.root
  const dataset = await openDataset(data, { root, terminal: context.terminal })
  const path = `${testPath(folder, dataset.name, classes)}.json`
  if (existsSync(path)) {
    const { n_cls, total, correct, accuracy, macro_f1, ece } = TestFile.parse(await readJson(path))
    return { n_cls, total, correct, accuracy, macro_f1, ece }
  }
  const engine = await nativeEngine()
  const opened = await openModel(engine, config.options.model, context)
  using model = opened.model
  if (model.info.sha256 !== config.model.sha256)
    throw new TrainError('model_mismatch', `the model ${opened.id} is not the one that ${folder} was trained with`)
  const cache = new FeatureCache({ engine, model, enabled: flags.cache, terminal: context.terminal })
  const predictor = await openPredictor(folder, model, context)
  const reading = { ...context, skipBad: flags.skip_bad }
  return await test(folder, { model, cache }, predictor, { dataset, source: { data, root } }, classes, reading)
}

function predictions({ items, labels }: Embedded, { predicted, probs, n_cls }: Tested): string {
  const lines = items.map(({ path }, i): Prediction => {
    const [label, guess] = [labels[i] ?? 0, predicted[i] ?? 0]
    const prob = (of: number) => probs[i * n_cls + of] ?? 0
    return { path, label, predicted: guess, prob: prob(guess), prob_label: prob(label) }
  })
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('')
}
