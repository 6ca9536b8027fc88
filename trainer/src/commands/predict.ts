/** `cocoop-train predict`: the classes of images, by what a run learned or by a bundle. */
import { type EngineModel, type NativeEngine, nativeEngine, rank } from 'cocoop/node'
import { z } from 'zod'
import { findBundle } from '../bundle-source.ts'
import { type Context, defineCommand } from '../command.ts'
import { EXIT, TrainError } from '../errors.ts'
import { embedEach } from '../images.ts'
import { type LeftOut, leaveOut } from '../left-out.ts'
import { listImages } from '../listing.ts'
import { openModel } from '../models.ts'
import { openPredictions, type Predicted } from '../prediction-rows.ts'
import { holdsRun } from '../report/read-run.ts'
import { openConfig } from '../runs/config.ts'
import { SOURCE } from '../runs/options.ts'
import { STORE } from '../stores.ts'

const FLAGS = z.object({
  images: z.array(z.string()).min(1).meta({
    description: 'Images: files, folders with all below them, data sets',
    value: 'IMAGE...',
    positional: true,
  }),
  bundle: z.string().meta({
    description: "A bundle's file, a run's folder, or a published name",
    value: 'FILE|RUN|NAME',
    short: 'b',
  }),
  model: SOURCE.model.optional().meta({
    description: 'CLIP model (default the one that the bundle was made for)',
    value: 'NAME|DIR',
    short: 'm',
  }),
  classes: z.string().optional().meta({
    description: "Other class names than the bundle's own, separated by commas",
    value: 'A,B,...',
  }),
  top_k: z.number().int().min(1).default(5).meta({ description: 'How many classes of each image to give' }),
  out: z
    .string()
    .optional()
    .meta({ description: 'Write FILE.csv or FILE.jsonl instead of printing', value: 'FILE', short: 'o' }),
  ...STORE,
})
type Flags = z.output<typeof FLAGS>

export const predict = defineCommand({
  name: 'predict',
  summary: 'Classify images with a run or a bundle',
  details: [
    'Prints a line for each image: the best class, its probability, and the cosine of image and text. --json and --out give the --top-k best.',
    'An image that cannot be read is named and left out; the command then leaves with 7.',
  ].join('\n'),
  flags: FLAGS,
  examples: [
    'cocoop-train predict photo.jpg --bundle runs/mine',
    'cocoop-train predict photos/ --bundle photos --out photos.csv',
    'cocoop-train predict photos/ --bundle runs/mine --classes "cat,dog,neither" --top-k 3 --json',
  ],
  run: async (flags, context) => {
    const { terminal, signal, print, exit } = context
    const listed = await listImages(flags.images)
    const engine = await nativeEngine()
    using labeller = await openLabeller(engine, flags, context)
    const { model, classnames, from } = labeller
    const topK = Math.min(flags.top_k, classnames.length)
    await using file = flags.out === undefined ? undefined : await openPredictions(flags.out, topK)
    const widest = Math.min(60, Math.max(...listed.map(({ path }) => path.length)))
    const classWidth = Math.min(40, Math.max(...classnames.map((name) => name.length)))
    const images: Predicted[] = []
    const left_out: LeftOut[] = []
    let count = 0
    for await (const batch of embedEach(model, listed, signal)) {
      const { good, features, bad } = leaveOut(batch, model.info.embed_dim, terminal)
      left_out.push(...bad)
      const rows = await labeller.label(
        good.map(({ path }) => path),
        features,
        topK,
      )
      count += rows.length
      await file?.write(rows)
      if (file === undefined) images.push(...rows)
      for (const row of file === undefined ? rows : []) print(line(row, widest, classWidth))
      terminal.status(`classifying images ${batch.start + batch.items.length}/${listed.length}`)
    }
    const [first] = left_out
    if (count === 0 && first !== undefined)
      throw new TrainError(first.code, `none of the images can be read; ${first.path}: ${first.message}`)
    await file?.commit()
    if (flags.out !== undefined) print(`${count} predictions in ${flags.out}`)
    if (left_out.length > 0) exit(EXIT.partial)
    return { bundle: from, classnames, count, ...(flags.out === undefined ? { images } : { out: flags.out }), left_out }
  },
})

/** What gives images their classes. */
interface Labeller extends Disposable {
  model: EngineModel
  classnames: string[]
  /** Where it is from, for messages. */
  from: string
  /** The best classes of images with these features (n, embed_dim). */
  label: (paths: readonly string[], features: Float32Array, topK: number) => Promise<Predicted[]>
}

async function openLabeller(engine: NativeEngine, flags: Flags, { signal }: Context): Promise<Labeller> {
  const { bytes, from } = await findBundle(flags.bundle, flags)
  const { classnames: own, model: madeFor, name, prompt } = engine.bundleMetadata(bytes)
  const classnames = flags.classes === undefined ? own : namesOf(flags.classes)
  if (flags.classes !== undefined && prompt.csc)
    throw new TrainError(
      'class_mismatch',
      `the bundle ${name} has class-specific prompts, which serve its own classes only`,
    )
  const { model } = await openModel(engine, flags.model ?? (await modelOfRun(flags.bundle)) ?? madeFor.id, { signal })
  try {
    const classifier = await model.classifier(bytes, {
      signal,
      classnames: flags.classes === undefined ? undefined : classnames,
    })
    return {
      model,
      classnames,
      from,
      label: async (paths, features, topK) => {
        if (paths.length === 0) return []
        const { probs, cosines } = await classifier.score(features, { signal })
        const row = (values: Float32Array, i: number) =>
          values.subarray(i * classnames.length, (i + 1) * classnames.length)
        return paths.map((path, i) => ({
          path,
          predictions: rank({ probs: row(probs, i), cosines: row(cosines, i) }, classnames, topK),
        }))
      },
      [Symbol.dispose]: () => {
        classifier[Symbol.dispose]()
        model[Symbol.dispose]()
      },
    }
  } catch (cause) {
    model[Symbol.dispose]()
    throw cause
  }
}

/** What a run named its model by, which may be a path. */
async function modelOfRun(target: string): Promise<string | undefined> {
  return holdsRun(target) ? (await openConfig(target)).options.model : undefined
}

/** @throws TrainError `usage` for a name that is empty or twice there */
function namesOf(list: string): string[] {
  const names = list.split(',').map((name) => name.trim())
  if (names.includes('')) throw new TrainError('usage', `--classes: expected names separated by commas, got "${list}"`)
  const twice = names.find((name, i) => names.indexOf(name) < i)
  if (twice !== undefined) throw new TrainError('usage', `--classes: "${twice}" is there twice`)
  return names
}

function line({ path, predictions: [best] }: Predicted, widest: number, classWidth: number): string {
  if (best === undefined) return path
  const cosine = best.cosine === null ? '' : `  ${best.cosine.toFixed(4)}`
  return `${path.padEnd(widest)}  ${best.classname.padEnd(classWidth)}  ${`${(100 * best.prob).toFixed(2)}%`.padStart(7)}${cosine}`
}
