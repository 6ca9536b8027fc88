/** `cocoop-train search`: the images of a folder that are nearest to a text or to another image. */
import { resolve } from 'node:path'
import { type EngineModel, nativeEngine } from 'cocoop/node'
import { z } from 'zod'
import { type Context, defineCommand } from '../command.ts'
import { kindOf } from '../datasets/disk.ts'
import { ROOT } from '../datasets/root.ts'
import { EXIT, TrainError } from '../errors.ts'
import { CACHE, FeatureCache } from '../feature-cache.ts'
import { folderFeatures } from '../folder-features.ts'
import { embedEach } from '../images.ts'
import { listImages } from '../listing.ts'
import { openModel } from '../models.ts'
import { SOURCE } from '../runs/options.ts'
import { table } from '../table.ts'
import { type Cached, embedTexts } from '../text-features.ts'

/** Images that are compared with the query at a time. */
const BATCH = 8192

const FLAGS = z.object({
  words: z.array(z.string()).min(1).max(2).meta({
    description: 'What is looked for, and where; with --image only where',
    value: 'QUERY FOLDER',
    positional: true,
  }),
  image: z.string().optional().meta({ description: 'Look for images like this one', value: 'FILE' }),
  top: z.number().int().min(1).default(10).meta({ description: 'How many images' }),
  truncate: z.boolean().default(false).meta({ description: "Cut a query that is longer than the model's context" }),
  ...ROOT,
  model: SOURCE.model,
  ...CACHE,
})

export const search = defineCommand({
  name: 'search',
  summary: 'Find the images of a folder that are nearest to a text or an image',
  details:
    "The folder's features are kept in the cache: a second search encodes only files that are new or changed since (size and time of change).",
  flags: FLAGS,
  examples: [
    'cocoop-train search "a red square" photos/',
    'cocoop-train search --image query.jpg photos/ --top 3 --json',
    'cocoop-train search "a dog" emoji-kinds',
  ],
  run: async (flags, context) => {
    const { print, exit, terminal } = context
    const { text, folder } = places(flags)
    const listed = await listImages([folder], flags)
    const engine = await nativeEngine()
    using model = (await openModel(engine, flags.model, context)).model
    const cached = { model, cache: new FeatureCache({ engine, model, enabled: flags.cache, terminal }) }
    const query = await queryFeatures(cached, text, flags, context)
    const name = (await kindOf(folder, 'isDirectory')) ? resolve(folder) : folder
    const { paths, features, left_out, encoded } = await folderFeatures(cached, name, listed, context)
    if (paths.length === 0)
      throw new TrainError(left_out[0]?.code ?? 'bad_data', `none of the images of ${folder} can be read`)
    const cosines = await compare(model, features, query, context)
    const results = paths
      .map((path, i) => ({ path, cosine: cosines[i] ?? Number.NaN }))
      .sort((a, b) => b.cosine - a.cosine)
      .slice(0, flags.top)
    terminal.log(`${paths.length} images, ${encoded} of them encoded now`)
    print(
      table(
        ['image', 'cosine'],
        results.map(({ path, cosine }) => [path, cosine.toFixed(4)]),
      ),
    )
    if (left_out.length > 0) exit(EXIT.partial)
    const asked = text === undefined ? { image: flags.image } : { text }
    return { query: asked, folder, images: paths.length, encoded, results, left_out }
  },
})

/** Which word is the query and which the folder. */
function places({ words, image }: z.output<typeof FLAGS>): { text?: string; folder: string } {
  const [first = '', second] = words
  if (image === undefined && second !== undefined) return { text: first, folder: second }
  if (image !== undefined && second === undefined) return { folder: first }
  const message = image === undefined ? 'FOLDER is missing' : 'a text and --image are two queries'
  throw new TrainError('usage', message, 'Write `search "QUERY" FOLDER` or `search --image FILE FOLDER`.')
}

/** Features (embed_dim) of what is looked for. */
async function queryFeatures(
  cached: Cached,
  text: string | undefined,
  { image = '', truncate }: z.output<typeof FLAGS>,
  context: Context,
): Promise<Float32Array> {
  if (text !== undefined) return await embedTexts(cached, [text], { ...context, truncate })
  const [listed] = await listImages([image])
  for await (const { features, bad } of embedEach(cached.model, listed === undefined ? [] : [listed], context.signal)) {
    if (bad[0] !== undefined)
      throw new TrainError(bad[0].code, `${image}: ${bad[0].message}`, 'Choose another --image.')
    return features
  }
  throw new TrainError('not_found', `there is no image ${image}`)
}

/** The cosine of each of `features` (n, embed_dim) with the query (n). */
async function compare(
  model: EngineModel,
  features: Float32Array,
  query: Float32Array,
  { signal }: Context,
): Promise<Float32Array> {
  const width = model.info.embed_dim
  const cosines = new Float32Array(features.length / width)
  for (let start = 0; start < cosines.length; start += BATCH) {
    const some = features.subarray(start * width, (start + BATCH) * width)
    cosines.set((await model.score(some, query, { signal })).cosines, start)
  }
  return cosines
}
