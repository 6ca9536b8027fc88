/** `cocoop-train predict`: the classes of images, by what a run learned or by a bundle. */
import { basename, join } from 'node:path'
import { linearProbeProbs, type NativeEngine, type NativeModel, nativeEngine, rank } from 'cocoop/node'
import { z } from 'zod'
import { findBundle } from '../bundle-source.ts'
import { type Context, defineCommand } from '../command.ts'
import { kindOf } from '../datasets/disk.ts'
import { ROOT } from '../datasets/root.ts'
import { EXIT, TrainError } from '../errors.ts'
import { embedEach } from '../images.ts'
import { type LeftOut, leaveOut } from '../left-out.ts'
import { listImages } from '../listing.ts'
import { openModel } from '../models.ts'
import { openPredictions, type Predicted } from '../prediction-rows.ts'
import { holdsRun } from '../report/read-run.ts'
import { openConfig } from '../runs/config.ts'
import { readProbe } from '../runs/probe-file.ts'
import { STORE } from '../stores.ts'

const FLAGS = z.object({
  images: z.array(z.string()).min(1).meta({
    description: 'Images: files, folders with all below them, data sets',
    value: 'IMAGE...',
    positional: true,
  }),
  bundle: z.string().meta({
    description: "A bundle's file, a run's folder (a linear probe's, too), or a published name",
    value: 'FILE|RUN|NAME',
    short: 'b',
  }),
  model: z.string().optional().meta({
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
  ...ROOT,
  ...STORE,
})
type Flags = z.output<typeof FLAGS>

const PROBE = 'probe.safetensors'

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
    const listed = await listImages(flags.images, flags)
    const engine = await nativeEngine()
    using labeller = await openLabeller(engine, flags, context)
    const { model, classnames, from } = labeller
    const topK = Math.min(flags.top_k, classnames.length)
    await using file = flags.out === undefined ? undefined : await openPredictions(flags.out, topK)
    const widest = listed.reduce((widest, { path }) => Math.max(widest, Math.min(60, path.length)), 0)
    const classWidth = Math.min(40, Math.max(...classnames.map((name) => name.length)))
    const images: Predicted[] = []
    const left_out: LeftOut[] = []
    let count = 0
    for await (const batch of embedEach(model, listed, signal, labeller.normalized)) {
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
  model: NativeModel
  classnames: string[]
  /** Where it is from, for messages. */
  from: string
  /** Whether it takes features L2-normalised, or as they leave the tower. */
  normalized: boolean
  /** The best classes of images with these features (n, embed_dim). */
  label: (paths: readonly string[], features: Float32Array, topK: number) => Promise<Predicted[]>
}

async function openLabeller(engine: NativeEngine, flags: Flags, context: Context): Promise<Labeller> {
  const probe = await probeAt(flags.bundle)
  return probe === undefined
    ? await bundleLabeller(engine, flags, context)
    : await probeLabeller(engine, probe, flags, context)
}

async function bundleLabeller(engine: NativeEngine, flags: Flags, { signal }: Context): Promise<Labeller> {
  const { bytes, from } = await findBundle(flags.bundle, flags)
  const { classnames: own, model: madeFor, name, prompt } = engine.bundleMetadata(bytes)
  const asked = flags.classes === undefined ? undefined : namesOf(flags.classes)
  if (asked !== undefined && prompt.csc) throw onlyItsOwn(`the bundle ${name} has class-specific prompts`)
  using opened = new DisposableStack()
  const { model } = await openModel(engine, await modelName(flags, madeFor.id), { signal })
  opened.use(model)
  const classifier = opened.use(await model.classifier(bytes, { signal, classnames: asked }))
  const classnames = asked ?? own
  const label: Labeller['label'] = async (paths, features, topK) => {
    if (paths.length === 0) return []
    const { probs, cosines } = await classifier.score(features, { signal })
    const row = (values: Float32Array, i: number) => values.subarray(i * classnames.length, (i + 1) * classnames.length)
    return paths.map((path, i) => ({
      path,
      predictions: rank({ probs: row(probs, i), cosines: row(cosines, i) }, classnames, topK),
    }))
  }
  const both = opened.move()
  return { model, classnames, from, normalized: true, label, [Symbol.dispose]: () => both.dispose() }
}

async function probeLabeller(engine: NativeEngine, path: string, flags: Flags, { signal }: Context): Promise<Labeller> {
  const probe = await readProbe(path)
  if (flags.classes !== undefined) throw onlyItsOwn(`${path} is a linear probe`)
  const opened = await openModel(engine, await modelName(flags, probe.model.id), { signal })
  const { id, model } = opened
  if (model.info.sha256 !== probe.model.sha256) {
    model[Symbol.dispose]()
    throw new TrainError('model_mismatch', `${path} was made for another model than ${id}`)
  }
  const { classnames } = probe
  const label: Labeller['label'] = async (paths, features, topK) => {
    if (paths.length === 0) return []
    const all = await linearProbeProbs(probe, features)
    return paths.map((path, i) => {
      const probs = all.subarray(i * classnames.length, (i + 1) * classnames.length)
      const ranked = rank({ probs, cosines: probs }, classnames, topK)
      return { path, predictions: ranked.map((guess) => ({ ...guess, cosine: null })) }
    })
  }
  return { model, classnames, from: path, normalized: false, label, [Symbol.dispose]: () => model[Symbol.dispose]() }
}

function onlyItsOwn(what: string): TrainError {
  return new TrainError('class_mismatch', `${what}, which serves its own classes only`, 'Leave --classes out.')
}

/** The file of a linear probe, where `target` is one or the run that made it. */
async function probeAt(target: string): Promise<string | undefined> {
  const path = basename(target) === PROBE ? target : join(target, PROBE)
  return (await kindOf(path, 'isFile')) ? path : undefined
}

async function modelName({ bundle, model }: Flags, madeFor: string): Promise<string> {
  return model ?? (await modelOfRun(bundle)) ?? madeFor
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
