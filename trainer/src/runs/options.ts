/**
 * The options of a run and their defaults, which are the original trainers': CoOp (Zhou et al. 2022a, COOP.md) and
 * CoCoOp (Zhou et al. 2022b, its `vit_b16_c4_ep10_batch1_ctxv1`), with momentum and weight decay from Dassl.
 */
import type { TrainSpec } from 'cocoop/node'
import { z } from 'zod'
import { ROOT } from '../datasets/root.ts'
import { TrainError } from '../errors.ts'
import { CACHE } from '../feature-cache.ts'
import { LOGS } from '../logs/flags.ts'
import { DEFAULT_MODEL } from '../models.ts'
import { ORIGINALS } from '../presets/flags.ts'
import { TEMPLATES } from '../templates.ts'

/** Where data and model come from, and which classes; shared by the commands that read a data set. */
export const SOURCE = {
  data: z.string().meta({
    description: 'Data set: the name of an embedded, an imported or one of the papers, or a path',
    value: 'NAME|DIR',
    short: 'd',
  }),
  ...ROOT,
  model: z
    .string()
    .default(DEFAULT_MODEL)
    .meta({ description: 'CLIP model: a name in models/ or a folder', value: 'NAME|DIR', short: 'm' }),
  skip_bad: z.boolean().default(false).meta({ description: 'Go on without images that cannot be read' }),
}

const positive = z.number().int().min(1)
const share = z.number().min(0)

export const METHODS = ['zero-shot', 'linear-probe', 'coop', 'cocoop'] as const
export type MethodName = (typeof METHODS)[number]

export const TRAIN = z.object({
  ...SOURCE,
  data: SOURCE.data.optional(), // --resume knows it
  method: z
    .enum(METHODS)
    .default('cocoop')
    .meta({ description: 'Which prompts to learn; or none, by templates; or a linear probe' }),
  shots: z.number().int().min(0).default(16).meta({ description: 'Training images per class; 0 takes all' }),
  classes: z
    .enum(['all', 'base', 'new'])
    .default('all')
    .meta({ description: 'All classes, or the first or second half of them' }),
  seed: z.number().int().min(0).default(1).meta({ description: 'Decides the shots, the initial values and the order' }),
  n_ctx: positive
    .optional()
    .meta({ description: 'Learned context tokens (default 16 for coop, 4 for cocoop, or those of --ctx-init)' }),
  ctx_init: z.string().optional().meta({
    description: 'Words to start from; "" starts at random (default "a photo of a" for cocoop, random for coop)',
  }),
  csc: z.boolean().default(false).meta({ description: 'Class-specific context: one context per class (coop)' }),
  class_token_position: z
    .enum(['end', 'middle', 'front'])
    .default('end')
    .meta({ description: 'Where the class name stands (coop)' }),
  meta_net_reduction: positive
    .default(16)
    .meta({ description: "The Meta-Net's hidden units are the image feature's length divided by this (cocoop)" }),
  epochs: positive.optional().meta({
    description: 'Passes over the data (default 10 for cocoop; for coop 200, 100 up to 4 shots, 50 for 1 shot)',
  }),
  batch_size: positive.optional().meta({ description: 'Images per step (default 32 for coop, 1 for cocoop)' }),
  lr: z.number().positive().default(0.002).meta({ description: 'Learning rate, falling by a cosine' }),
  momentum: share.max(1).default(0.9).meta({ description: "SGD's momentum" }),
  weight_decay: share.default(0.0005).meta({ description: "SGD's weight decay" }),
  warmup_epochs: z.number().int().min(0).default(1).meta({ description: 'First epochs at --warmup-lr' }),
  warmup_lr: share.default(0.00001).meta({ description: 'Their learning rate' }),
  augment: z
    .enum(['crop-flip', 'none'])
    .default('crop-flip')
    .meta({ description: 'Random resized crop and flip, or the whole picture' }),
  views: z.number().int().min(0).default(0).meta({
    description: 'Random views of an image that take turns; 0 draws a new one in each epoch, as the original',
  }),
  templates: TEMPLATES.templates.meta({
    ...TEMPLATES.templates.meta(),
    description:
      'zero-shot: named set of templates, file with one on each line, or text with {} (default "a photo of a {}.")',
  }),
  probe_c: z
    .number()
    .positive()
    .optional()
    .meta({ description: 'linear-probe: inverse strength of its regularisation (default: searched on the val split)' }),
  allow_fewer: z
    .boolean()
    .default(false)
    .meta({ description: 'Take all images of a class that has fewer than --shots' }),
  name: z.string().optional().meta({ description: "The bundle's name (default DATA-METHOD)", value: 'NAME' }),
  out: z.string().optional().meta({
    description: 'Folder of the run (default runs/DATA/METHOD-SHOTSshots-CLASSES-seedSEED)',
    value: 'DIR',
    short: 'o',
  }),
  ...CACHE,
  report: z.boolean().default(true).meta({ description: 'Leave out report.html' }),
  ...ORIGINALS,
  ...LOGS,
  resume: z
    .boolean()
    .default(false)
    .meta({ description: 'Go on with the run in --out, with the options it was started with' }),
})
export type TrainFlags = z.output<typeof TRAIN>

/** Every default filled in: what config.json holds, and what repeats the run. */
export type TrainOptions = Omit<
  TrainFlags,
  | 'data'
  | 'out'
  | 'resume'
  | 'cache'
  | 'report'
  | 'n_ctx'
  | 'ctx_init'
  | 'epochs'
  | 'batch_size'
  | 'name'
  | 'print_freq'
> & {
  data: string
  n_ctx: number
  /** Empty: drawn at random. */
  ctx_init: string
  epochs: number
  batch_size: number
  name: string
  print_freq: number
}

/** @throws TrainError `usage` where no data set is named */
export function requireData({ data }: TrainFlags): string {
  if (data === undefined)
    throw new TrainError('usage', '--data is missing', '`cocoop-train dataset list` names the data sets.')
  return data
}

/**
 * Fills in the defaults that depend on the method.
 * @param dataset the data set's name
 * @param countTokens how many tokens a text has
 * @throws TrainError `usage` for flags that exclude each other
 */
export function resolve(flags: TrainFlags, dataset: string, countTokens: (text: string) => number): TrainOptions {
  const { out: _out, resume: _resume, cache: _cache, report: _report, ...options } = flags
  const cocoop = flags.method === 'cocoop'
  const zeroShot = flags.method === 'zero-shot'
  if (flags.templates.length > 0 && !zeroShot)
    throw excludes('--templates', `--method ${flags.method}`, 'Learned prompts start from --ctx-init.')
  if (flags.probe_c !== undefined && flags.method !== 'linear-probe')
    throw excludes('--probe-c', `--method ${flags.method}`, 'It is the strength of a linear probe.')
  if (cocoop && flags.csc) throw excludes('--csc', '--method cocoop', 'Class-specific context is a choice of coop.')
  if (cocoop && flags.class_token_position !== 'end') {
    throw excludes(
      `--class-token-position ${flags.class_token_position}`,
      '--method cocoop',
      'CoCoOp puts the class name at the end.',
    )
  }
  if (flags.csc && flags.ctx_init) throw excludes('--csc', '--ctx-init', 'Class-specific context starts at random.')
  // A given number of tokens without words asks for random ones, unless it is the default words' own.
  const fallback = cocoop && (flags.n_ctx ?? 4) === 4 ? 'a photo of a' : ''
  const ctx_init = flags.ctx_init ?? fallback
  const words = ctx_init === '' ? undefined : countTokens(ctx_init)
  const n_ctx = flags.n_ctx ?? words ?? (cocoop ? 4 : 16)
  if (words !== undefined && n_ctx !== words) {
    throw excludes(`--n-ctx ${n_ctx}`, `--ctx-init "${ctx_init}"`, `These words are ${words} tokens.`)
  }
  const epochs = flags.epochs ?? (cocoop ? 10 : coopEpochs(flags.shots))
  return {
    ...options,
    data: flags.data ?? dataset,
    templates: zeroShot && flags.templates.length === 0 ? ['simple'] : flags.templates,
    n_ctx,
    ctx_init,
    epochs,
    // As many views as epochs are a new one in each.
    views: flags.views >= epochs ? 0 : flags.views,
    batch_size: flags.batch_size ?? (cocoop ? 1 : 32),
    print_freq: flags.print_freq ?? (cocoop ? 20 : 5),
    name: flags.name ?? bundleName(`${dataset}-${flags.method}`),
  }
}

/** Whether what a run makes serves its own classes only. */
export function isBound({ method, csc }: Pick<TrainFlags, 'method' | 'csc'>): boolean {
  return csc || method === 'linear-probe'
}

/** On which classes of its data set a run is tested: after base ones also on the new ones, where it can serve them. */
export function testedClasses(options: Pick<TrainFlags, 'method' | 'classes' | 'csc'>): TrainFlags['classes'][] {
  return options.classes === 'base' && !isBound(options) ? ['base', 'new'] : [options.classes]
}

/** What the engine wants to know of them. */
const ENGINE = [
  'n_ctx',
  'csc',
  'class_token_position',
  'meta_net_reduction',
  'epochs',
  'batch_size',
  'lr',
  'momentum',
  'weight_decay',
  'warmup_epochs',
  'warmup_lr',
  'augment',
  'views',
  'seed',
] as const satisfies readonly (keyof TrainOptions & keyof TrainSpec)[]

/** The engine's form of the options of `coop` and `cocoop`. */
export function trainSpec(options: TrainOptions, classnames: string[]): TrainSpec {
  const same = Object.fromEntries(ENGINE.map((key) => [key, options[key]])) as Pick<TrainSpec, (typeof ENGINE)[number]>
  const method = options.method === 'cocoop' ? 'cocoop' : 'coop'
  const ctx_init = options.ctx_init === '' ? null : options.ctx_init
  return { method, classnames, ctx_init, ...same }
}

/** Any text as a bundle's name: a key of the store and a part of a URL. */
export function bundleName(text: string): string {
  const plain = text
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+/, '')
    .slice(0, 64)
  return plain === '' ? 'bundle' : plain
}

/** COOP.md: 200 epochs for 16 and 8 shots, 100 for 4 and 2, 50 for 1. */
function coopEpochs(shots: number): number {
  if (shots === 1) return 50
  return shots > 0 && shots <= 4 ? 100 : 200
}

function excludes(one: string, other: string, why: string): TrainError {
  return new TrainError('usage', `${one} does not go with ${other}`, why)
}
