/** What crosses the doors, the store and HTTP as JSON. Fields are snake_case, as in the files; every object is strict. */
import { z } from 'zod'
import { CocoopError, type ErrorCode } from './errors.ts'

/** SHA-256 in lower-case hexadecimal. */
export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits')

/** A bundle's name, which is also a part of its key in the store and of its URL. */
export const BundleName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'expected 1 to 64 of a-z 0-9 . _ -, not beginning with . _ -')

/** `name` (whatever its alias points to) or `name@sha256` (exactly that bundle). */
export const BundleRef = z.string().transform((text, context) => {
  const [name, sha256, ...rest] = text.split('@')
  if (
    !BundleName.safeParse(name).success ||
    rest.length > 0 ||
    (sha256 !== undefined && !Sha256.safeParse(sha256).success)
  ) {
    context.addIssue({ code: 'custom', message: 'expected a bundle as name or name@sha256' })
    return z.NEVER
  }
  return { name: name as string, sha256 }
})
export type BundleRef = z.output<typeof BundleRef>

export const Method = z.enum(['zero-shot', 'coop', 'cocoop'])
export type Method = z.infer<typeof Method>

const free = z.record(z.string(), z.unknown())
const count = z.int().nonnegative()

/** What a bundle says of itself: docs/bundle-format.md. */
export const BundleMetadata = z.strictObject({
  format: z.literal('cocoop-bundle'),
  version: z.literal(1),
  name: z.string(),
  method: Method,
  classnames: z.array(z.string()).min(1),
  prompt: z.strictObject({
    n_ctx: count,
    ctx_init: z.string().nullable(),
    csc: z.boolean(),
    class_token_position: z.enum(['end', 'middle', 'front']),
    templates: z.array(z.string()),
  }),
  model: z.strictObject({ id: z.string(), sha256: Sha256, embed_dim: count, image_size: count }),
  training: free,
  metrics: free,
})
export type BundleMetadata = z.infer<typeof BundleMetadata>

const Channels = z.tuple([z.number(), z.number(), z.number()])
const Activation = z.enum(['quick_gelu', 'gelu'])

/** Of the linear layers of a model pack. */
export const Bits = z.literal([32, 16, 8, 4])
export type Bits = z.infer<typeof Bits>

/**
 * What a loaded model says of itself. `sha256` is that of the source weights, what bundles name their model by; `pack` is there
 * where it was loaded from one. `logit_scale` is the logarithm, as stored in the checkpoint, or null where the files hold one
 * tower alone; the other tower has no layers.
 */
export const ModelInfo = z.strictObject({
  sha256: Sha256,
  pack: z.strictObject({ bits: Bits, sha256: Sha256 }).optional(),
  image_size: count,
  embed_dim: count,
  context_length: count,
  logit_scale: z.number().nullable(),
  parameters: count,
  vision: z.discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('vit'),
      layers: count,
      width: count,
      heads: count,
      patch_size: count,
      activation: Activation,
    }),
    z.strictObject({ kind: z.literal('resnet'), layers: z.array(count).length(4), width: count, heads: count }),
  ]),
  text: z.strictObject({
    layers: count,
    width: count,
    heads: count,
    activation: Activation,
    vocab_size: count,
    tokens_known: count,
  }),
  /** Of the pixels: value / 255, less the mean, over the standard deviation. */
  normalization: z.strictObject({ mean: Channels, std: Channels }),
})
export type ModelInfo = z.infer<typeof ModelInfo>

/** The families of names that a model's file may use. */
const Names = z.enum(['openai', 'hf', 'open_clip', 'tinyclip'])

/** What a model's files hold. `parameters` and what follows are there once its dimensions could be read. */
export const ModelReport = z.strictObject({
  format: z.enum(['safetensors', 'torch', 'torchscript']),
  names: Names,
  tensors: count,
  /** Values of each type. */
  dtypes: z.record(z.string(), count),
  sha256: Sha256,
  /** Why the model cannot be used. */
  problem: z.object({ code: z.string(), message: z.string() }).nullable(),
  parameters: count.optional(),
  image_tower: z.boolean().optional(),
  text_tower: z.boolean().optional(),
  /** Tensors that are needed, by OpenAI's names, and those that nothing needs, by the file's. */
  missing: z.array(z.string()).optional(),
  unexpected: z.array(z.string()).optional(),
  config: free.optional(),
})
export type ModelReport = z.infer<typeof ModelReport>

/** What a conversion writes. */
export interface ConversionTarget {
  dtype: 'f32' | 'f16' | 'bf16'
  names: Exclude<z.infer<typeof Names>, 'tinyclip'>
}
export const ConvertedModel = z.strictObject({ weights: z.string(), config: z.string() })
export type ConvertedModel = z.infer<typeof ConvertedModel>

/** A token near a vector: its text, `</w>` where it ends a word, and the Euclidean distance of its embedding. */
export const NearToken = z.strictObject({ id: count, token: z.string(), distance: z.number() })
export type NearToken = z.infer<typeof NearToken>

/** What a checkpoint of the originals does not say. */
export interface ImportSpec {
  /** In the order of the labels; default: as the checkpoint's own token embeddings spell them. */
  classnames?: readonly string[] | undefined
  class_token_position: 'end' | 'middle' | 'front'
  /** The words that the vectors started at, to be noted. */
  ctx_init?: string | undefined
  name: string
  model_id: string
  training: Record<string, unknown>
}

/** `bundle/<name>` in the store: which bundle a name means, and which it meant before. */
export const Alias = z.strictObject({
  sha256: Sha256,
  method: Method,
  n_cls: count,
  model_sha256: Sha256,
  previous: Sha256.nullable(),
})
export type Alias = z.infer<typeof Alias>

/** Parts of a model pack: the image tower, the text transformer, the token table. */
export const Tower = z.enum(['vision', 'text', 'tokens'])
export type Tower = z.infer<typeof Tower>

export const PackShard = z.strictObject({
  name: z.string().regex(/^[a-z]+-\d+\.bin$/),
  tower: Tower,
  bytes: count,
  sha256: Sha256,
})
export type PackShard = z.infer<typeof PackShard>

/** What is used here of a model pack's manifest.json; the core reads all of it, strictly (docs/pack-format.md). */
export const PackManifest = z.looseObject({
  format: z.literal('cocoop-pack'),
  version: z.literal(1),
  id: z.string(),
  bits: Bits,
  source_sha256: Sha256,
  config: z.string(),
  towers: z.strictObject({ vision: count, text: count, tokens: count }),
  shards: z.array(PackShard),
})
export type PackManifest = z.infer<typeof PackManifest>

/** `model/<sha256>` in the store, by the hash of the source weights: the pack that serves the model, and the one before. */
export const ModelAlias = z.strictObject({ id: z.string(), pack: Sha256, bits: Bits, previous: Sha256.nullable() })
export type ModelAlias = z.infer<typeof ModelAlias>

/** Bytes that a pack takes in memory: of each tower, and to work in. */
export const PackMemory = z.strictObject({ vision: count, text: count, work: count })
export type PackMemory = z.infer<typeof PackMemory>

/** What a call of a model on a pack could not do without: towers, and shards of the token table. */
export const Wanted = z.strictObject({ towers: z.array(Tower), shards: z.array(z.string()) })
export type Wanted = z.infer<typeof Wanted>

/** How to train: the core's `TrainSpec`. */
export const TrainSpec = z.strictObject({
  method: z.enum(['coop', 'cocoop']),
  classnames: z.array(z.string()).min(1),
  n_ctx: count,
  ctx_init: z.string().nullable(),
  csc: z.boolean(),
  class_token_position: z.enum(['end', 'middle', 'front']),
  /** The Meta-Net has embed_dim / this many hidden units, at least one; 16 in the original. */
  meta_net_reduction: count,
  epochs: count,
  batch_size: count,
  lr: z.number(),
  momentum: z.number(),
  weight_decay: z.number(),
  warmup_epochs: count,
  warmup_lr: z.number(),
  augment: z.enum(['crop-flip', 'none']),
  /** Views of each image that the epochs take in turn; 0 for a fresh one in each, as in the original. */
  views: count,
  seed: count,
})
export type TrainSpec = z.infer<typeof TrainSpec>

/** Views `from` to below `to` of images, the first of which is number `first` of the run: what epochs `from`... see. */
export interface ViewSpec {
  augment: TrainSpec['augment']
  seed: number
  first: number
  from: number
  to: number
}

export const TrainPlan = z.strictObject({
  epochs: count,
  batches: count,
  batch_size: count,
  n_train: count,
  parameters: count,
})
export type TrainPlan = z.infer<typeof TrainPlan>

export const TrainPosition = z.strictObject({ epoch: count, batch: count })
export type TrainPosition = z.infer<typeof TrainPosition>

export const EpochReport = z.strictObject({
  epoch: count,
  loss: z.number(),
  accuracy: z.number(),
  lr: z.number(),
  images: count,
  done: z.boolean(),
})
export type EpochReport = z.infer<typeof EpochReport>

/** An ONNX graph of a model: a tower, the text tower from embeddings on (`prompt`), or pixels to probabilities (`classifier`). */
export interface OnnxSpec {
  graph: 'vision' | 'text' | 'prompt' | 'classifier'
  /** How matrices are stored; all graphs compute in f32. */
  dtype: 'f32' | 'f16'
}

/** A file of an exported graph, which is read in `parts`. */
export const OnnxFile = z.strictObject({ name: z.string(), bytes: count, parts: count })
export type OnnxFile = z.infer<typeof OnnxFile>

/** `onnx.json`, beside the graphs that `cocoop-train export-onnx` wrote. */
export const OnnxManifest = z.strictObject({
  format: z.literal('cocoop-onnx'),
  version: z.literal(1),
  model: ModelInfo,
  dtype: z.enum(['f32', 'f16']),
  files: z.array(z.strictObject({ name: z.string(), bytes: count, sha256: Sha256 })).min(1),
})
export type OnnxManifest = z.infer<typeof OnnxManifest>

/** A bundle as the core's `Host` opens it. `head`: where its text features come from. */
export const OnnxHead = z.strictObject({
  metadata: z.string(),
  head: z.enum(['own', 'templates', 'learned', 'conditional']),
})

/** What the trainer writes into a bundle besides what it learned. */
export interface BundleOptions {
  name: string
  model_id: string
  training: Record<string, unknown>
  metrics: Record<string, unknown>
}

/** `templates` hold one `{}` each; a class's feature is the normalised mean over them. */
export interface ZeroShotSpec {
  classnames: string[]
  templates: string[]
  metadata: BundleOptions
}

export const BadImage = z.strictObject({ index: count, code: z.string(), message: z.string() })
export type BadImage = z.infer<typeof BadImage>
export const InspectedImage = z.union([z.strictObject({ index: count, width: count, height: count }), BadImage])
export type InspectedImage = z.infer<typeof InspectedImage>

/**
 * JSON text as `schema` says, or an error of word `code` that names `what` and the field.
 * @throws CocoopError `code`
 */
export function parseJson<T extends z.ZodType>(schema: T, text: string, what: string, code: ErrorCode): z.output<T> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new CocoopError(code, `${what}: not JSON`, { cause })
  }
  return check(schema, value, what, code)
}

/** The value as `schema` says, or an error of word `code` that names `what` and the field. */
export function check<T extends z.ZodType>(schema: T, value: unknown, what: string, code: ErrorCode): z.output<T> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new CocoopError(code, `${what}: ${explain(result.error)}`)
}

/** The first few issues of a failed parse on one line: `prompt.n_ctx: expected number`. */
export function explain(error: z.ZodError): string {
  const shown = error.issues
    .slice(0, 3)
    .map(({ path, message }) => (path.length > 0 ? `${path.join('.')}: ${message}` : message))
  return shown.join('; ')
}
