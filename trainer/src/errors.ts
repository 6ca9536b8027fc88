/**
 * What the command line says when it stops: a word, a sentence, what to do, and the exit code.
 * The words of the engine (`CocoopError.code`) and of Node's file system are translated here and nowhere else.
 */

/** Exit codes, as `cocoop-train help` documents them. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  data: 3,
  notFound: 4,
  incompatible: 5,
  resource: 6,
  partial: 7,
  interrupted: 130,
} as const

/** An error that the trainer itself found. Thrown for bad input, never for a bug. */
export class TrainError extends Error {
  override readonly name = 'TrainError'
  readonly code: string
  /** What the reader can do about it; a default for the code is printed where it is absent. */
  readonly hint: string | undefined
  constructor(code: string, message: string, hint?: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.hint = hint
  }
}

/** An error as it is printed. */
export interface Problem {
  code: string
  message: string
  hint: string
  exit: number
}

const OTHER_MODEL = 'Use the model that the bundle was made for (--model DIR), or make the bundle again with this one.'
const DATA =
  '`cocoop-train dataset show NAME|DIR` says what the data set holds; --skip-bad leaves unreadable files out.'
const MODEL = '--model names a folder with model.safetensors and config.json of a CLIP ViT.'

/** Exit code and advice for each word. A word that is not listed is a plain failure. */
const WORDS: Record<string, readonly [exit: number, hint: string]> = {
  usage: [EXIT.usage, '`cocoop-train help` lists the commands and their flags.'],
  bad_option: [EXIT.usage, '`cocoop-train help COMMAND` lists the values that a flag takes.'],
  bad_request: [EXIT.usage, '`cocoop-train help COMMAND` lists the values that a flag takes.'],
  bad_data: [EXIT.data, DATA],
  bad_image: [EXIT.data, DATA],
  image_too_large: [EXIT.data, DATA],
  unsupported_image: [EXIT.data, DATA],
  bad_label: [EXIT.data, DATA],
  bad_classes: [EXIT.data, DATA],
  bad_text: [EXIT.data, DATA],
  text_too_long: [
    EXIT.data,
    'Shorten the text, class name or template, or use fewer context tokens (train --n-ctx); `embed` cuts texts by --truncate.',
  ],
  too_few_images: [EXIT.data, 'Ask for fewer --shots, or take what there is with --allow-fewer.'],
  exists: [EXIT.failure, 'Choose another name or folder.'],
  bundle_not_found: [EXIT.notFound, '`cocoop-train bundles list` names what the store holds.'],
  model_not_found: [EXIT.notFound, '`cocoop-train publish` writes the model beside its bundle.'],
  probe_failed: [
    EXIT.incompatible,
    'The bundle computes something else here than where it was made; build all parts of one version.',
  ],
  hash_mismatch: [EXIT.incompatible, 'The stored bytes are damaged; publish again.'],
  bad_store: [EXIT.incompatible, 'The store was written by something else; choose another --store.'],
  store_unavailable: [EXIT.failure, 'Is the network there? `npx wrangler whoami` tells whether you are logged in.'],
  hub_refused: [EXIT.failure, 'Set HF_TOKEN to a token that may read the repository.'],
  hub_unavailable: [EXIT.failure, 'Is the network there? Run the same command again: it goes on where it stopped.'],
  queue_unavailable: [EXIT.failure, 'Is Redis running there? `redis-cli -u URL ping` tells.'],
  worker_failed: [EXIT.failure, '`cocoop-train doctor` checks what the worker needs.'],
  no_addon: [EXIT.failure, '`npm run build` builds the native addon; `cocoop-train doctor` says what is missing.'],
  not_found: [EXIT.notFound, 'Check the name; `cocoop-train doctor` says where models and data sets are looked for.'],
  model_mismatch: [EXIT.incompatible, OTHER_MODEL],
  class_mismatch: [EXIT.incompatible, 'Class-specific prompts serve the class names they were trained on only.'],
  bad_bundle: [EXIT.incompatible, 'The file is not a prompt bundle of this version; make it again.'],
  bad_checkpoint: [EXIT.incompatible, 'Start the run again in a new folder (--out DIR).'],
  bad_model: [EXIT.incompatible, MODEL],
  bad_pack: [
    EXIT.incompatible,
    'The folder is not a model pack of this version; make it again by `cocoop-train pack`.',
  ],
  missing_tower: [EXIT.incompatible, 'The pack was made without this tower; make it with `--towers vision,text`.'],
  out_of_memory_budget: [EXIT.resource, 'Take a pack with fewer bits, or a larger budget.'],
  bad_safetensors: [EXIT.incompatible, 'The file is damaged or not a safetensors file; get it again.'],
  bad_shape: [EXIT.incompatible, MODEL],
  bad_dtype: [EXIT.incompatible, MODEL],
  missing_tensor: [EXIT.incompatible, MODEL],
  not_finite: [EXIT.incompatible, MODEL],
  no_space: [EXIT.resource, 'Free some disk space, then go on with --resume.'],
  no_memory: [EXIT.resource, 'Use a smaller --batch-size or free some memory.'],
  cancelled: [EXIT.interrupted, 'Run the same command again.'],
  diverged: [EXIT.failure, 'Try a lower --lr.'],
  rank_lost: [EXIT.failure, 'Start all ranks again, with --resume.'],
  locked: [EXIT.failure, 'Wait for the other run, or choose another --out.'],
  no_permission: [EXIT.failure, 'Check who owns the file and its folder.'],
}

const SYSTEM: Record<string, string> = {
  ENOENT: 'not_found',
  ENOTDIR: 'not_found',
  ENOSPC: 'no_space',
  EDQUOT: 'no_space',
  EFBIG: 'no_space',
  ENOMEM: 'no_memory',
  EACCES: 'no_permission',
  EPERM: 'no_permission',
  EROFS: 'no_permission',
}

/** Turns anything thrown into what is printed. */
export function problemOf(error: unknown): Problem {
  if (!(error instanceof Error)) return { code: 'internal', message: String(error), hint: '', exit: EXIT.failure }
  const code = codeOf(error)
  const [exit, advice] = WORDS[code] ?? [EXIT.failure, 'COCOOP_DEBUG=1 prints where it happened.']
  const hint = error instanceof TrainError && error.hint !== undefined ? error.hint : advice
  return { code, message: error.message, hint, exit }
}

/** The shared word of an error: its own `code`, or the one that Node's system error stands for. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'internal'
  if (error.name === 'AbortError') return 'cancelled'
  if (error instanceof RangeError && /allocation|Invalid array|buffer length/i.test(error.message)) return 'no_memory'
  const code = 'code' in error ? String(error.code) : ''
  return SYSTEM[code] ?? (/^[a-z_]+$/.test(code) ? code : 'internal')
}
