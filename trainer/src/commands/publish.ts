/** `cocoop-train publish`: brings a bundle, and its model where it is missing, to the store that the worker reads. */
import { BundleName, publishBundle, publishModel, requireModel, type Store, wasmEngine } from 'cocoop/node'
import { z } from 'zod'
import { findBundle } from '../bundle-source.ts'
import { type Context, defineCommand } from '../command.ts'
import { codeOf, TrainError } from '../errors.ts'
import { sha256 } from '../files.ts'
import { DEFAULT_MODEL, readModel } from '../models.ts'
import { formatBytes } from '../progress.ts'
import { openStore, STORE, type StoreFlags } from '../stores.ts'

export const publish = defineCommand({
  name: 'publish',
  summary: 'Publish a bundle (and its model) to the store that the worker reads',
  details:
    'The bundle is written, read back, and proven through WASM by its probe image; only then does the name point to it.',
  flags: z.object({
    source: z
      .string()
      .meta({ description: "A run's folder or a bundle's file", value: 'RUN|BUNDLE', positional: true }),
    name: BundleName.optional().meta({
      description: "The name to publish under (default: the bundle's own)",
      value: 'NAME',
    }),
    model: z
      .string()
      .default(DEFAULT_MODEL)
      .meta({ description: 'The model, for a store that lacks it', value: 'NAME|DIR', short: 'm' }),
    ...STORE,
  }),
  examples: [
    'cocoop-train publish runs/mine --name backdrops',
    'cocoop-train publish backdrops.safetensors --name backdrops --store store/',
    'cocoop-train publish runs/mine --name backdrops --kv remote',
  ],
  run: async (flags, context) => {
    const { bytes } = await findBundle(flags.source)
    const { name, ...published } = await publishTo(bytes, flags, context)
    context.print(`published ${name}@${published.sha256.slice(0, 12)} to the ${published.where}`)
    if (published.previous !== null)
      context.print(`before: ${published.previous.slice(0, 12)}; go back by: cocoop-train bundles rollback ${name}`)
    return { name, ...published }
  },
})

/** Publishes a bundle's bytes, and the model that they need where the store lacks it. */
export async function publishTo(
  bytes: Uint8Array,
  flags: StoreFlags & { name?: string | undefined; model: string },
  { terminal, signal }: Context,
) {
  const engine = await wasmEngine()
  const { model } = engine.bundleMetadata(bytes)
  await using open = await openStore(flags)
  if (!(await hasModel(open.store, model.sha256))) {
    const files = await readModel(flags.model)
    const found = sha256(files.weights)
    if (found !== model.sha256) {
      const message = `the bundle was made for the model ${model.id} (${model.sha256.slice(0, 12)}), ${files.folder} is ${found.slice(0, 12)}`
      throw new TrainError('model_mismatch', message, 'Name the right model by --model NAME|DIR.')
    }
    terminal.log(`publishing the model ${files.id}, ${formatBytes(files.weights.length)}`)
    await publishModel(open.store, files, { signal })
  }
  return { ...(await publishBundle(open.store, bytes, { engine, name: flags.name, signal })), where: open.where }
}

async function hasModel(store: Store, hash: string): Promise<boolean> {
  try {
    await requireModel(store, hash)
    return true
  } catch (cause) {
    if (codeOf(cause) === 'model_not_found') return false
    throw cause
  }
}
