/** `cocoop-train checkpoint import | export`: prompts of the original CoOp and CoCoOp as bundles, and bundles as their files. */
import { existsSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CocoopError, type ImportSpec, nativeEngine } from 'cocoop/node'
import { z } from 'zod'
import { findBundle } from '../bundle-source.ts'
import { type Context, defineCommand } from '../command.ts'
import { openDataset } from '../datasets/open.ts'
import { TrainError } from '../errors.ts'
import { sha256, writeDurably } from '../files.ts'
import { openModel } from '../models.ts'
import { findOriginal, newestOf, PROMPT_LEARNER } from '../original.ts'
import { SOURCE } from '../runs/options.ts'
import { selectClasses } from '../select.ts'
import { STORE } from '../stores.ts'

const FLAGS = z.object({
  action: z.enum(['import', 'export']).meta({ description: 'What to do', value: 'import|export', positional: true }),
  target: z.string().meta({
    description: "import: a model.pth.tar-N, or the original's run; export: a bundle's file, a run, a published name",
    value: 'FILE|RUN|NAME',
    positional: true,
  }),
  out: z.string().meta({
    description:
      "import: the bundle to write; export: the checkpoint, or an existing folder, where it lies as in the original's run",
    value: 'FILE|DIR',
    short: 'o',
  }),
  model: SOURCE.model,
  data: SOURCE.data.optional().meta({
    ...SOURCE.data.meta(),
    description: 'import: the data set whose class names it was learned with (default: those in the checkpoint)',
  }),
  root: SOURCE.root,
  classes: z
    .enum(['all', 'base', 'new'])
    .default('all')
    .meta({ description: 'import: all classes of --data, or the first or second half of them' }),
  classnames: z.string().optional().meta({
    description: 'import: the class names, one on each line, in the order of the labels',
    value: 'FILE',
  }),
  class_token_position: z
    .enum(['end', 'middle', 'front'])
    .default('end')
    .meta({ description: 'import: where the class name stood, which the checkpoint does not say' }),
  ctx_init: z
    .string()
    .optional()
    .meta({ description: 'import: the words that the context started from, to be noted', value: 'TEXT' }),
  name: z.string().default('imported').meta({ description: "import: the bundle's name", value: 'NAME' }),
  epoch: z.number().int().min(0).optional().meta({
    description:
      'import: of a run, the checkpoint of this epoch (default: the newest); export: the number it is saved under',
  }),
  ...STORE,
})
type Flags = z.output<typeof FLAGS>

export const checkpoint = defineCommand({
  name: 'checkpoint',
  summary: 'Import prompts learned by the original CoOp and CoCoOp, or export one for them',
  details: [
    'Method, number of vectors and class-specific ones are read from the file, which executes nothing; the class names and the backbone',
    'are checked against the token embeddings in it.',
  ].join('\n'),
  flags: FLAGS,
  examples: [
    'cocoop-train checkpoint import output/dtd/seed1 --model openai/clip-vit-base-patch16 --out dtd.safetensors',
    'cocoop-train checkpoint import prompt_learner/model.pth.tar-50 --data dtd --classes base --model RN50.pt --out dtd.safetensors',
    'cocoop-train checkpoint export runs/mine --model openai/clip-vit-base-patch16 --out model.pth.tar-10',
  ],
  run: async (flags, context) =>
    flags.action === 'import' ? await importFile(flags, context) : await exportFile(flags, context),
})

async function importFile(flags: Flags, context: Context): Promise<unknown> {
  refuseExisting(flags.out)
  const path = await findOriginal(flags.target, flags.epoch)
  const classnames = await givenNames(flags, context)
  const engine = await nativeEngine()
  const { id, model: opened } = await openModel(engine, flags.model, context)
  using model = opened
  const spec: ImportSpec = {
    classnames,
    class_token_position: flags.class_token_position,
    ctx_init: flags.ctx_init,
    name: flags.name,
    model_id: id,
    training: flags.data === undefined ? {} : { dataset: flags.data, classes: flags.classes },
  }
  const bundle = await model.importCheckpoint(await readFile(path), spec, context).catch((cause: unknown) => {
    if (!CocoopError.is(cause) || cause.code !== 'bad_checkpoint') throw cause
    const hint = 'It reads a model.pth.tar-N of CoOp or CoCoOp; --model is the CLIP that it was learned on.'
    throw new TrainError(cause.code, `${path}: ${cause.message}`, hint, { cause })
  })
  await writeDurably(flags.out, bundle)
  const { method, prompt, training, classnames: names } = engine.bundleMetadata(bundle)
  const own = prompt.csc ? ' of its own for each class' : ''
  context.print(`${method}, ${prompt.n_ctx} vectors${own}, ${names.length} classes: ${flags.out}`)
  return {
    from: path,
    out: flags.out,
    sha256: sha256(bundle),
    method,
    n_ctx: prompt.n_ctx,
    csc: prompt.csc,
    classnames: names,
    checkpoint: training.checkpoint,
  }
}

async function exportFile(flags: Flags, context: Context): Promise<unknown> {
  const { bytes, from } = await findBundle(flags.target, flags)
  const engine = await nativeEngine()
  const epoch = flags.epoch ?? epochOf(engine.bundleMetadata(bytes).training)
  const folder = existsSync(flags.out) && statSync(flags.out).isDirectory()
  const path = folder ? join(flags.out, PROMPT_LEARNER, `model.pth.tar-${epoch}`) : flags.out
  refuseExisting(path)
  using model = (await openModel(engine, flags.model, context)).model
  const file = await model.exportCheckpoint(bytes, epoch)
  await writeDurably(path, file)
  if (folder) await writeDurably(newestOf(flags.out), `model.pth.tar-${epoch}\n`)
  context.print(`epoch ${epoch}: ${path}`)
  return { from, out: path, epoch, bytes: file.length, sha256: sha256(file) }
}

/** Names of a file or of a data set; `undefined` where neither was named. */
async function givenNames(
  { data, root, classes, classnames }: Flags,
  { terminal }: Context,
): Promise<string[] | undefined> {
  if (classnames !== undefined && data !== undefined)
    throw new TrainError('usage', '--classnames does not go with --data', 'Either one names the classes.')
  if (data !== undefined) return await selectClasses(await openDataset(data, { root, terminal }), classes)
  if (classnames === undefined) return undefined
  const lines = (await readFile(classnames, 'utf8')).split(/\r?\n/).map((line) => line.trim())
  const names = lines.filter((line) => line !== '')
  if (names.length === 0) throw new TrainError('bad_data', `${classnames} holds no class names`)
  return names
}

/** The epoch that a run's bundle is of, or that it was imported with. */
function epochOf({ epochs, checkpoint }: Record<string, unknown>): number {
  const imported = (checkpoint as { epoch?: unknown } | undefined)?.epoch
  const epoch = typeof imported === 'number' ? imported : epochs
  if (typeof epoch === 'number') return epoch
  throw new TrainError('usage', '--epoch is missing', 'The bundle does not say of which epoch it is.')
}

function refuseExisting(path: string): void {
  if (existsSync(path) && !statSync(path).isDirectory())
    throw new TrainError('exists', `${path} is there already`, 'Name another file by --out.')
}
