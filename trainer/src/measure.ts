/** What `eval` and `zero-shot` do with a bundle: test it on one split, print the figures, write the predictions. */
import { type EngineModel, nativeEngine, rank } from 'cocoop/node'
import { z } from 'zod'
import type { BundleSource } from './bundle-source.ts'
import type { Context } from './command.ts'
import type { Dataset } from './datasets/dataset.ts'
import { openDataset } from './datasets/open.ts'
import { type Evaluation, evaluateBundle, figures, figuresTable } from './evaluate.ts'
import { CACHE, FeatureCache } from './feature-cache.ts'
import { writeDurably } from './files.ts'
import { imageFeatures } from './image-features.ts'
import type { Embedded } from './images.ts'
import { openModel } from './models.ts'
import { SOURCE } from './runs/options.ts'
import { type Classes, selectSplit } from './select.ts'
import { STORE } from './stores.ts'
import { table } from './table.ts'

export const MEASURE = {
  ...SOURCE,
  classes: z
    .enum(['all', 'base', 'new'])
    .optional()
    .meta({ description: 'Which classes (default: those that the bundle was trained on)' }),
  split: z.enum(['train', 'val', 'test']).default('test').meta({ description: 'Which images' }),
  per_class: z.boolean().default(false).meta({ description: 'Print a row for each class' }),
  predictions: z
    .string()
    .optional()
    .meta({ description: "Write each image's best classes to this file, one JSON object per line", value: 'FILE' }),
  top_k: z.number().int().min(1).default(5).meta({ description: 'How many classes per image to write' }),
  ...STORE,
  ...CACHE,
}
type MeasureFlags = z.output<z.ZodObject<typeof MEASURE>>

/** What a bundle is tested with. */
export interface Bench {
  dataset: Dataset
  /** The model's name. */
  id: string
  model: EngineModel
  cache: FeatureCache
}

/** Tests the bundle that `source` finds or makes as the flags say. Returns what --json prints. */
export async function measureBundle(
  source: (bench: Bench) => Promise<BundleSource>,
  flags: MeasureFlags,
  context: Context,
) {
  const engine = await nativeEngine()
  const dataset = await openDataset(flags.data, { root: flags.root, terminal: context.terminal })
  const opened = await openModel(engine, flags.model, context)
  using model = opened.model
  const cache = new FeatureCache({ engine, model, enabled: flags.cache, terminal: context.terminal })
  const { bytes, from } = await source({ dataset, id: opened.id, model, cache })
  const metadata = engine.bundleMetadata(bytes)
  const classes = flags.classes ?? trainedOn(metadata.training)
  const reading = { ...context, skipBad: flags.skip_bad }
  const data = await imageFeatures({ model, cache }, await selectSplit(dataset, flags.split, classes), reading)
  const evaluation = await evaluateBundle(model, bytes, data, context)
  const { per_class } = evaluation.score
  context.print(`${metadata.method} (${from}) on ${dataset.name}, ${flags.split}`)
  context.print(figuresTable({ [classes]: figures(evaluation) }))
  if (flags.per_class) {
    const rows = per_class.map((row) => [
      row.classname,
      String(row.total),
      `${row.accuracy.toFixed(1)}%`,
      `${row.f1.toFixed(1)}%`,
    ])
    context.print(`\n${table(['class', 'images', 'accuracy', 'F1'], rows)}`)
  }
  if (flags.predictions !== undefined) {
    await writeDurably(flags.predictions, predictions(data, evaluation, flags.top_k))
    context.terminal.log(`${data.items.length} predictions in ${flags.predictions}`)
  }
  const { method, name } = metadata
  return {
    bundle: { from, name, method },
    dataset: dataset.name,
    split: flags.split,
    classes,
    ...figures(evaluation),
    per_class,
  }
}

/** One line per image: what the worker answers for it, beside its label. */
function predictions({ items, labels, classnames }: Embedded, { probs, cosines }: Evaluation, topK: number): string {
  const n_cls = classnames.length
  const row = (values: Float32Array, i: number) => values.subarray(i * n_cls, (i + 1) * n_cls)
  const lines = items.map(({ path }, i) => {
    const best = rank({ probs: row(probs, i), cosines: row(cosines, i) }, classnames, topK)
    return JSON.stringify({ path, label: labels[i], classname: classnames[labels[i] ?? 0], predictions: best })
  })
  return lines.map((line) => `${line}\n`).join('')
}

function trainedOn({ classes }: Record<string, unknown>): Classes {
  return classes === 'base' || classes === 'new' ? classes : 'all'
}
