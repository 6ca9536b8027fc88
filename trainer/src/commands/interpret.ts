/** `cocoop-train interpret`: the tokens that learned vectors lie near, and how a Meta-Net moves them from image to image. */
import { type BundleMetadata, type NativeModel, type NearToken, nativeEngine, type PromptVectors } from 'cocoop/node'
import { z } from 'zod'
import { findBundle } from '../bundle-source.ts'
import { type Context, defineCommand } from '../command.ts'
import { peekOf } from '../datasets/dataset.ts'
import { openDataset } from '../datasets/open.ts'
import { TrainError } from '../errors.ts'
import { CACHE, FeatureCache } from '../feature-cache.ts'
import { imageFeatures } from '../image-features.ts'
import { listImages } from '../listing.ts'
import { openModel } from '../models.ts'
import { SOURCE } from '../runs/options.ts'
import { type Selected, selectSplit } from '../select.ts'
import { reportShifts, rowsOf, type ShiftReport, shifted } from '../shifts.ts'
import { STORE } from '../stores.ts'
import { table } from '../table.ts'

const FLAGS = z.object({
  target: z.string().meta({
    description: "A bundle's file, a run's folder, or a published name",
    value: 'BUNDLE|RUN',
    positional: true,
  }),
  model: SOURCE.model,
  top_k: z.number().int().min(1).default(5).meta({ description: 'How many tokens for each vector' }),
  data: SOURCE.data.optional().meta({
    ...SOURCE.data.meta(),
    description: 'cocoop: how the Meta-Net moves the vectors over the images of a data set',
  }),
  root: SOURCE.root,
  split: z.enum(['train', 'val', 'test']).default('test').meta({ description: 'Which images of --data' }),
  classes: z.enum(['all', 'base', 'new']).default('all').meta({ description: 'Of which classes' }),
  images: z.array(z.string()).default([]).meta({
    description: 'cocoop: the tokens near the vectors as these images move them; files, folders',
    value: 'FILE|FOLDER',
  }),
  extremes: z
    .number()
    .int()
    .min(0)
    .default(3)
    .meta({ description: 'Of --data, so many images that move the vectors most, and least' }),
  skip_bad: SOURCE.skip_bad,
  ...STORE,
  ...CACHE,
})
type Flags = z.output<typeof FLAGS>

/** A vector with what it is near; `vector` counts from 1, `classname` where each class has its own. */
interface Interpreted {
  classname?: string | undefined
  vector: number
  nearest: NearToken[]
}

/** An image and how far it moves the vectors, relative to their mean length. */
interface Moved {
  path: string
  classname?: string | undefined
  shift: number
}

export const interpret = defineCommand({
  name: 'interpret',
  summary: 'What learned vectors lie near, and how a Meta-Net moves them',
  details: [
    "The nearest tokens are those of the prompt's own model, by Euclidean distance between embeddings; </w> ends a word. Few of them mean",
    'anything: a learned vector need not be near a word.',
  ].join('\n'),
  flags: FLAGS,
  examples: [
    'cocoop-train interpret runs/mine --model openai/clip-vit-base-patch16',
    'cocoop-train interpret runs/mine --images cat.jpg --images dog.jpg',
    'cocoop-train interpret runs/mine --data emoji-backdrops --json',
  ],
  run: async (flags, context) => {
    const { bytes, from } = await findBundle(flags.target, flags)
    const engine = await nativeEngine()
    const metadata = engine.bundleMetadata(bytes)
    const asked = flags.data !== undefined || flags.images.length > 0
    if (asked && metadata.method !== 'cocoop')
      throw new TrainError(
        'usage',
        `--data and --images are for cocoop, ${from} is of method ${metadata.method}`,
        'Its vectors are the same for every image.',
      )
    using model = (await openModel(engine, flags.model, context)).model
    const bundle = { bytes, metadata, vectors: await model.promptVectors(bytes, undefined, context) }
    const near = await model.nearestTokens(bundle.vectors.ctx, flags.top_k, context)
    const vectors = near.map((nearest, i) => ({ ...placeOf(i, bundle), nearest }))
    context.print(`${metadata.method}, ${metadata.prompt.n_ctx} vectors (${from})`)
    printVectors(vectors, context)
    const cache = new FeatureCache({ engine, model, enabled: flags.cache, terminal: context.terminal })
    const over = { model, cache, bundle, flags, context }
    const document = { bundle: { from, name: metadata.name, method: metadata.method }, vectors }
    if (!asked) return document
    return {
      ...document,
      ...(flags.images.length > 0 ? { images: await ofImages(over) } : {}),
      ...(flags.data === undefined ? {} : { shift: await ofDataset(over, flags.data) }),
    }
  },
})

interface Over {
  model: NativeModel
  cache: FeatureCache
  bundle: { bytes: Uint8Array; metadata: BundleMetadata; vectors: PromptVectors }
  flags: Flags
  context: Context
}

/** The tokens near the vectors of each named image. */
async function ofImages(over: Over) {
  const listed = await listImages(over.flags.images)
  const items = listed.map(({ path, read }) => {
    return { path, read, peek: async () => peekOf(await read()), label: 0, classname: '', source: path }
  })
  const { selected, report, shift } = await shiftsOf(over, { classnames: [], items, labels: [] })
  return await nearEach(
    over,
    selected.items.map((_, i) => i),
    moved(selected, report),
    shift,
  )
}

/** The sums over a data set, and the tokens near the vectors of the images that move them most and least. */
async function ofDataset(over: Over, data: string) {
  const { flags, context } = over
  const dataset = await openDataset(data, { root: flags.root, terminal: context.terminal })
  const { selected, report, shift } = await shiftsOf(over, await selectSplit(dataset, flags.split, flags.classes))
  const images = moved(selected, report)
  const order = images.map((_, i) => i).sort((a, b) => (images[b]?.shift ?? 0) - (images[a]?.shift ?? 0) || a - b)
  printReport(`${dataset.name}, ${flags.split}, ${images.length} images`, report, context)
  if (flags.extremes > 0) context.print('\nThe images that move the vectors most:')
  const most = await nearEach(over, order.slice(0, flags.extremes), images, shift)
  if (flags.extremes > 0) context.print('\nLeast:')
  const least = await nearEach(over, order.toReversed().slice(0, flags.extremes), images, shift)
  return { data: dataset.name, split: flags.split, classes: flags.classes, ...report, images, most, least }
}

async function shiftsOf({ model, cache, bundle, flags, context }: Over, wanted: Selected) {
  const reading = { ...context, skipBad: flags.skip_bad }
  const selected = await imageFeatures({ model, cache }, wanted, reading)
  const { ctx, dim, shift } = await model.promptVectors(bundle.bytes, selected.features, context)
  return { selected, shift, report: reportShifts(ctx, dim, shift, selected.labels, selected.classnames) }
}

function moved({ items, labels, classnames }: Selected, { images }: ShiftReport): Moved[] {
  return items.map(({ path }, i) => {
    const classname = classnames[labels[i] ?? 0]
    return { path, ...(classname === undefined ? {} : { classname }), shift: images[i] ?? 0 }
  })
}

/** For each chosen image the tokens near its vectors. */
async function nearEach(
  { model, bundle, flags, context }: Over,
  chosen: number[],
  images: Moved[],
  shift: Float32Array,
) {
  const shifts = rowsOf(shift, bundle.vectors.dim)
  const found: (Moved & { vectors: Interpreted[] })[] = []
  for (const i of chosen) {
    const [image, own] = [images[i], shifts[i]]
    if (image === undefined || own === undefined) continue
    const near = await model.nearestTokens(shifted(bundle.vectors.ctx, own), flags.top_k, context)
    const vectors = near.map((nearest, at) => ({ ...placeOf(at, bundle), nearest }))
    const classname = image.classname === undefined ? '' : ` (${image.classname})`
    context.print(`\n${image.path}${classname}: moved by ${percent(image.shift)} of the vectors' length`)
    printVectors(vectors, context)
    found.push({ ...image, vectors })
  }
  return found
}

/** Which vector of which class a row of `ctx` is. */
function placeOf(row: number, { metadata, vectors }: Over['bundle']): Omit<Interpreted, 'nearest'> {
  const vector = (row % vectors.n_ctx) + 1
  return vectors.csc ? { classname: metadata.classnames[Math.floor(row / vectors.n_ctx)], vector } : { vector }
}

function printVectors(vectors: readonly Interpreted[], { print }: Context): void {
  const perClass = vectors.some(({ classname }) => classname !== undefined)
  const tokens = Math.max(...vectors.map(({ nearest }) => nearest.length))
  const head = [...(perClass ? ['class'] : []), 'vector', ...Array.from({ length: tokens }, (_, i) => `near ${i + 1}`)]
  const rows = vectors.map(({ classname, vector, nearest }) => [
    ...(perClass ? [classname ?? ''] : []),
    String(vector),
    ...nearest.map(({ token, distance }) => `${token} ${distance.toFixed(4)}`),
  ])
  print(table(head, rows))
}

function printReport(what: string, report: ShiftReport, { print }: Context): void {
  print(`\n${what}. Lengths are parts of the vectors' mean length, ${report.ctx_length.toFixed(4)}.`)
  print(`shift of an image, mean        ${percent(report.mean)}`)
  print(`mean shift of all images       ${percent(report.common)}`)
  print(`common to all images           ${percent(report.common_share)} of the mean square`)
  print(`between classes                ${percent(report.class_share)} of the rest\n`)
  const rows = report.per_class.map((row) => [row.classname, String(row.images), percent(row.mean), percent(row.apart)])
  print(table(['class', 'images', 'mean shift', 'from all'], rows))
}

function percent(x: number): string {
  return `${(100 * x).toFixed(2)}%`
}
