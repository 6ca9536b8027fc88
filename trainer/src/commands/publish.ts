/** `cocoop-train publish`: brings a bundle, and its model where it is missing, to the store that the worker reads. */
import { BundleName, findModel, nativeEngine, publishBundle, publishPack, wasmEngine } from 'cocoop/node'
import { z } from 'zod'
import { findBundle } from '../bundle-source.ts'
import { type Context, defineCommand } from '../command.ts'
import { openDataset } from '../datasets/open.ts'
import { TrainError } from '../errors.ts'
import { CACHE, FeatureCache } from '../feature-cache.ts'
import { DEFAULT_MODEL, openModel } from '../models.ts'
import { BITS, isPack, openOrMakePack, type PackOptions } from '../packs.ts'
import { formatBytes } from '../progress.ts'
import { SOURCE } from '../runs/options.ts'
import { openStore, STORE, type StoreFlags } from '../stores.ts'
import { TEMPLATES } from '../templates.ts'
import { templateBundle } from '../zero-shot.ts'
import { BITS_FLAG } from './pack.ts'

const FLAGS = z.object({
  source: z
    .string()
    .optional()
    .meta({ description: "A run's folder or a bundle's file", value: 'RUN|BUNDLE', positional: true }),
  ...TEMPLATES,
  data: SOURCE.data.optional().meta({
    description: 'With --templates: the data set whose class names they are filled with',
    value: 'NAME|DIR',
    short: 'd',
  }),
  root: SOURCE.root,
  classes: z
    .enum(['all', 'base', 'new'])
    .default('all')
    .meta({ description: 'With --templates: which of its classes' }),
  name: BundleName.optional().meta({
    description: "The name to publish under (default: the bundle's own)",
    value: 'NAME',
  }),
  model: z
    .string()
    .default(DEFAULT_MODEL)
    .meta({ description: 'The model or its pack, for a store that lacks it', value: 'NAME|DIR', short: 'm' }),
  bits: BITS_FLAG.optional().meta({
    description: 'Serve the model with so many bits (default: as the store has it, else 32)',
    value: BITS.join('|'),
  }),
  ...STORE,
  ...CACHE,
})
type Flags = z.output<typeof FLAGS>

export const publish = defineCommand({
  name: 'publish',
  summary: 'Publish a bundle (and its model) to the store that the worker reads',
  details:
    'The bundle is written, read back, and proven through WASM by its probe image; only then does the name point to it.',
  flags: FLAGS,
  examples: [
    'cocoop-train publish runs/mine --name backdrops',
    'cocoop-train publish backdrops.safetensors --name backdrops --store store/',
    'cocoop-train publish runs/mine --name backdrops --kv remote',
    'cocoop-train publish --templates imagenet-7 --data emoji-kinds --name kinds',
  ],
  run: async (flags, context) => {
    const bytes = await bundleOf(flags, context)
    const { name, ...published } = await publishTo(bytes, flags, context)
    context.print(`published ${name}@${published.sha256.slice(0, 12)} to the ${published.where}`)
    if (published.previous !== null)
      context.print(`before: ${published.previous.slice(0, 12)}; go back by: cocoop-train bundles rollback ${name}`)
    return { name, ...published }
  },
})

/** The bundle that is named, or one that is made of templates. */
async function bundleOf({ source, templates, data, ...flags }: Flags, context: Context): Promise<Uint8Array> {
  if (source !== undefined && templates.length === 0) return (await findBundle(source)).bytes
  if (source !== undefined)
    throw new TrainError('usage', `${source} does not go with --templates`, 'A bundle has its own prompt.')
  if (templates.length === 0)
    throw new TrainError(
      'usage',
      'RUN|BUNDLE is missing',
      'Name what to publish, or templates by --templates and --data.',
    )
  if (data === undefined)
    throw new TrainError('usage', '--data is missing', '--templates are filled with the class names of a data set.')
  const engine = await nativeEngine()
  const opened = await openModel(engine, flags.model, context)
  using model = opened.model
  const cache = new FeatureCache({ engine, model, enabled: flags.cache, terminal: context.terminal })
  const dataset = await openDataset(data, { root: flags.root, terminal: context.terminal })
  const bench = { dataset, id: opened.id, model, cache }
  return await templateBundle(bench, { templates, classes: flags.classes, name: flags.name }, context)
}

/** Publishes a bundle's bytes, and the model that they need where the store lacks it. */
export async function publishTo(
  bytes: Uint8Array,
  flags: StoreFlags & { name?: string | undefined; model: string; bits?: PackOptions['bits'] | undefined },
  context: Context,
) {
  const { terminal, signal } = context
  const engine = await wasmEngine()
  const { model } = engine.bundleMetadata(bytes)
  await using open = await openStore(flags)
  const stored = await findModel(open.store, model.sha256)
  const bits = flags.bits ?? stored?.bits ?? 32
  if (stored?.bits !== bits || isPack(flags.model)) {
    await using made = await openOrMakePack(flags.model, { bits, towers: ['vision', 'text'] }, context)
    const { id, shards, source_sha256 } = made.pack.manifest
    if (source_sha256 !== model.sha256) {
      const message = `the bundle was made for the model ${model.id} (${model.sha256.slice(0, 12)}), ${flags.model} is ${source_sha256.slice(0, 12)}`
      throw new TrainError('model_mismatch', message, 'Name the right model by --model NAME|DIR.')
    }
    const size = formatBytes(shards.reduce((sum, { bytes }) => sum + bytes, 0))
    terminal.log(`publishing the model ${id} at ${made.pack.manifest.bits} bits, ${size}`)
    await publishPack(open.store, made.pack, { signal })
  }
  return { ...(await publishBundle(open.store, bytes, { engine, name: flags.name, signal })), where: open.where }
}
