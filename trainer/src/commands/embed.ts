/** `cocoop-train embed`: the features of images or texts, as JSON lines or for NumPy. */
import { type EngineModel, nativeEngine } from 'cocoop/node'
import { z } from 'zod'
import { type Context, defineCommand } from '../command.ts'
import { ROOT } from '../datasets/root.ts'
import { EXIT, TrainError } from '../errors.ts'
import { CACHE, FeatureCache } from '../feature-cache.ts'
import { openRows, type RowSink } from '../feature-rows.ts'
import { embedEach } from '../images.ts'
import { type LeftOut, leaveOut } from '../left-out.ts'
import { listImages } from '../listing.ts'
import { openModel } from '../models.ts'
import { SOURCE } from '../runs/options.ts'
import { embedTexts } from '../text-features.ts'
import { batches, TEXTS, textsOf } from '../texts.ts'

/** Texts that are read, encoded and written at a time. */
const TEXTS_AT_A_TIME = 2048

const FLAGS = z.object({
  images: z.array(z.string()).default([]).meta({
    description: 'Images: files, folders with all below them, data sets',
    value: 'FOLDER|FILE...',
    positional: true,
  }),
  ...TEXTS,
  ...ROOT,
  model: SOURCE.model,
  out: z
    .string()
    .default('-')
    .meta({ description: 'FILE.npy, FILE.jsonl, or - for JSON lines on stdout', value: 'FILE', short: 'o' }),
  ...CACHE,
})
type Flags = z.output<typeof FLAGS>

export const embed = defineCommand({
  name: 'embed',
  summary: 'Features of images or texts, as JSON lines or for NumPy',
  details: [
    'A row is {"path" or "text", "features"}, L2-normalised. FILE.npy holds the rows alone, FILE.json beside it what each is of.',
    'An image that cannot be read is named and left out; the command then leaves with 7. Only the features of texts are kept in the cache.',
  ].join('\n'),
  flags: FLAGS,
  examples: [
    'cocoop-train embed photos/ --out photos.npy',
    'cocoop-train embed a.jpg b.png --model models/clip-vit-base-patch32 > features.jsonl',
    'cocoop-train embed --text "a red square" --text "a dog"',
    'cocoop-train embed --texts captions.txt --truncate --out captions.npy',
  ],
  run: async (flags, context) => {
    const textual = flags.text.length > 0 || flags.texts !== undefined
    if (textual === flags.images.length > 0) {
      const got = textual ? 'both' : 'neither'
      throw new TrainError('usage', `expected images (FOLDER|FILE...) or texts (--texts FILE, --text TEXT), got ${got}`)
    }
    const { print, exit } = context
    const engine = await nativeEngine()
    const opened = await openModel(engine, flags.model, context)
    using model = opened.model
    const { sha256, embed_dim } = model.info
    const about = { model: { id: opened.id, sha256 }, embed_dim }
    await using rows = await openRows(flags.out, textual ? 'text' : 'path', embed_dim, about, context)
    const cache = new FeatureCache({ engine, model, enabled: flags.cache, terminal: context.terminal })
    const done = textual
      ? { count: await embedEachText({ model, cache }, rows, flags, context), left_out: [] }
      : await embedImages(model, rows, flags, context)
    const written = await rows.commit()
    if (written.length > 0) print(`${done.count} x ${embed_dim} features in ${written.join(', names in ')}`)
    if (done.left_out.length > 0) exit(EXIT.partial)
    return { ...about, ...done, files: written }
  },
})

async function embedImages(
  model: EngineModel,
  rows: RowSink,
  { images, root }: Flags,
  { terminal, signal }: Context,
): Promise<{ count: number; left_out: LeftOut[] }> {
  const listed = await listImages(images, { root })
  const left_out: LeftOut[] = []
  let count = 0
  for await (const batch of embedEach(model, listed, signal)) {
    const { good, features, bad } = leaveOut(batch, model.info.embed_dim, terminal)
    await rows.write(
      good.map(({ path }) => path),
      features,
    )
    left_out.push(...bad)
    count += good.length
    terminal.status(`encoding images ${batch.start + batch.items.length}/${listed.length}`)
  }
  const [first] = left_out
  if (count === 0 && first !== undefined)
    throw new TrainError(first.code, `none of the images can be read; ${first.path}: ${first.message}`)
  return { count, left_out }
}

async function embedEachText(
  cached: { model: EngineModel; cache: FeatureCache },
  rows: RowSink,
  flags: Flags,
  context: Context,
): Promise<number> {
  let count = 0
  for await (const texts of batches(textsOf(flags), TEXTS_AT_A_TIME)) {
    context.signal.throwIfAborted()
    await rows.write(texts, await embedTexts(cached, texts, { ...context, truncate: flags.truncate }))
    count += texts.length
    context.terminal.status(`encoded texts ${count}`)
  }
  if (count === 0) throw new TrainError('bad_data', 'there are no texts')
  return count
}
