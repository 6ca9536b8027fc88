/**
 * What the configuration files of CoOp and CoCoOp (Dassl's, with their own additions) mean as options of a run.
 * A key that is honoured sets options; one that would change the result and cannot be honoured is refused by name; nothing is dropped silently.
 */
import { findPaper } from '../datasets/papers/table.ts'
import { TrainError } from '../errors.ts'
import type { TrainFlags } from '../runs/options.ts'

export type Options = Partial<TrainFlags>

/** Takes the value of a key to options; `where` names it in errors. */
type Take = (value: unknown, where: string) => Options

/** A key: what Dassl or CoOp has for it by default, and what is made of its value. */
export interface Key {
  default: unknown
  take: Take
}

const SGD = 'Prompts are learned by SGD here, as in both papers.'
const CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
const CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
const VIEW = ['random_resized_crop', 'random_flip', 'normalize']

/** Only `wanted` is to be had. */
function only(wanted: unknown, why: string, standard = wanted): Key {
  const take: Take = (value, where) => {
    if (same(value, wanted)) return {}
    throw new TrainError('usage', `${where}: expected ${show(wanted)}, got ${show(value)}`, why)
  }
  return { default: standard, take }
}

/** Whatever it says, the result is the same: it belongs to what is not used here, or to how the work is done. */
function moot(standard: unknown): Key {
  return { default: standard, take: () => ({}) }
}

function text(standard: string, options: (value: string) => Options): Key {
  const take: Take = (value, where) => {
    if (value === '' || value === null) return {}
    return options(expectType('string', value, where))
  }
  return { default: standard, take }
}

function numeric(standard: number, options: (value: number) => Options): Key {
  return { default: standard, take: (value, where) => options(expectType('number', value, where)) }
}

const UNLIKE = 'This project has no such thing.'
const TRANSFORM = 'The transforms of both papers are the only ones here; --augment none learns from whole pictures.'

/** The keys of every section but the methods' own. Where a section stands in a file, what it leaves out has Dassl's default. */
export const KEYS: Readonly<Record<string, Key>> = {
  VERSION: only(1, UNLIKE),
  OUTPUT_DIR: text('', (out) => ({ out })),
  RESUME: only('', 'A run goes on by --resume --out DIR.'),
  SEED: numeric(-1, (seed) => (seed < 0 ? {} : { seed })),
  USE_CUDA: moot(true),
  VERBOSE: moot(true),

  'INPUT.SIZE': {
    default: [224, 224],
    take: (value, where) => {
      const [height, width] = Array.isArray(value) ? value : [value, value]
      if (typeof height !== 'number' || height !== width)
        throw new TrainError('usage', `${where}: expected (n, n), got ${show(value)}`, 'CLIP sees squares.')
      return { image_size: height }
    },
  },
  'INPUT.INTERPOLATION': only('bicubic', 'CLIP was trained on bicubic pictures; there is no other here.', 'bilinear'),
  'INPUT.TRANSFORMS': {
    default: [],
    take: (value, where) => {
      const given = Array.isArray(value) ? value : [value]
      if (same([...given].sort(), [...VIEW].sort())) return { augment: 'crop-flip' }
      throw new TrainError('usage', `${where}: expected ${show(VIEW)}, got ${show(value)}`, TRANSFORM)
    },
  },
  'INPUT.NO_TRANSFORM': only(false, TRANSFORM),
  'INPUT.PIXEL_MEAN': only(CLIP_MEAN, "The model's own are taken.", [0.485, 0.456, 0.406]),
  'INPUT.PIXEL_STD': only(CLIP_STD, "The model's own are taken.", [0.229, 0.224, 0.225]),
  'INPUT.RRCROP_SCALE': only([0.08, 1], TRANSFORM),
  // Those of transforms that are refused above.
  'INPUT.CROP_PADDING': moot(4),
  'INPUT.CUTOUT_N': moot(1),
  'INPUT.CUTOUT_LEN': moot(16),
  'INPUT.GN_MEAN': moot(0),
  'INPUT.GN_STD': moot(0.15),
  'INPUT.RANDAUGMENT_N': moot(2),
  'INPUT.RANDAUGMENT_M': moot(10),
  'INPUT.COLORJITTER_B': moot(0.4),
  'INPUT.COLORJITTER_C': moot(0.4),
  'INPUT.COLORJITTER_S': moot(0.4),
  'INPUT.COLORJITTER_H': moot(0.1),
  'INPUT.RGS_P': moot(0.2),
  'INPUT.GB_P': moot(0.5),
  'INPUT.GB_K': moot(21),

  'DATASET.ROOT': text('', (root) => ({ root })),
  'DATASET.NAME': text('', (data) => ({ data: findPaper(data)?.name ?? data })),
  'DATASET.NUM_SHOTS': numeric(-1, (shots) => ({ shots: Math.max(0, shots) })),
  'DATASET.SUBSAMPLE_CLASSES': {
    default: 'all',
    take: (value, where) => ({ classes: oneOf(['all', 'base', 'new'], value, where) }),
  },
  'DATASET.SOURCE_DOMAINS': only([], UNLIKE),
  'DATASET.TARGET_DOMAINS': only([], UNLIKE),
  'DATASET.NUM_LABELED': only(-1, UNLIKE),
  'DATASET.ALL_AS_UNLABELED': only(false, UNLIKE),
  // Those of data sets that are not here.
  'DATASET.VAL_PERCENT': moot(0.1),
  'DATASET.STL10_FOLD': moot(-1),
  'DATASET.CIFAR_C_TYPE': moot(''),
  'DATASET.CIFAR_C_LEVEL': moot(1),

  'DATALOADER.NUM_WORKERS': moot(4),
  'DATALOADER.K_TRANSFORMS': only(1, UNLIKE),
  'DATALOADER.RETURN_IMG0': only(false, UNLIKE),
  'DATALOADER.TRAIN_X.SAMPLER': only('RandomSampler', 'Images come in a random order, each once in an epoch.'),
  'DATALOADER.TRAIN_X.BATCH_SIZE': numeric(32, (batch_size) => ({ batch_size })),
  'DATALOADER.TRAIN_X.N_DOMAIN': moot(0),
  'DATALOADER.TRAIN_X.N_INS': moot(16),
  'DATALOADER.TRAIN_U.SAME_AS_X': moot(true),
  'DATALOADER.TRAIN_U.SAMPLER': moot('RandomSampler'),
  'DATALOADER.TRAIN_U.BATCH_SIZE': moot(32),
  'DATALOADER.TRAIN_U.N_DOMAIN': moot(0),
  'DATALOADER.TRAIN_U.N_INS': moot(16),
  'DATALOADER.TEST.SAMPLER': moot('SequentialSampler'),
  'DATALOADER.TEST.BATCH_SIZE': moot(32),

  'MODEL.INIT_WEIGHTS': only('', 'Prompts of the original come in by `cocoop-train checkpoint import`.'),
  'MODEL.BACKBONE.NAME': text('', (backbone) => ({ backbone })),
  'MODEL.BACKBONE.PRETRAINED': only(true, UNLIKE),
  'MODEL.HEAD.NAME': only('', UNLIKE),
  'MODEL.HEAD.HIDDEN_LAYERS': moot([]),
  'MODEL.HEAD.ACTIVATION': moot('relu'),
  'MODEL.HEAD.BN': moot(true),
  'MODEL.HEAD.DROPOUT': moot(0),

  'OPTIM.NAME': only('sgd', SGD, 'adam'),
  'OPTIM.LR': numeric(0.0003, (lr) => ({ lr })),
  'OPTIM.WEIGHT_DECAY': numeric(0.0005, (weight_decay) => ({ weight_decay })),
  'OPTIM.MOMENTUM': numeric(0.9, (momentum) => ({ momentum })),
  'OPTIM.SGD_DAMPNING': only(0, SGD),
  'OPTIM.SGD_NESTEROV': only(false, SGD),
  'OPTIM.RMSPROP_ALPHA': moot(0.99),
  'OPTIM.ADAM_BETA1': moot(0.9),
  'OPTIM.ADAM_BETA2': moot(0.999),
  'OPTIM.STAGED_LR': only(false, UNLIKE),
  'OPTIM.NEW_LAYERS': moot([]),
  'OPTIM.BASE_LR_MULT': moot(0.1),
  'OPTIM.LR_SCHEDULER': only('cosine', 'The learning rate falls by a cosine here, as in both papers.', 'single_step'),
  'OPTIM.STEPSIZE': moot([-1]),
  'OPTIM.GAMMA': moot(0.1),
  'OPTIM.MAX_EPOCH': numeric(10, (epochs) => ({ epochs })),
  'OPTIM.WARMUP_EPOCH': numeric(-1, (warmup_epochs) => ({ warmup_epochs: Math.max(0, warmup_epochs) })),
  'OPTIM.WARMUP_TYPE': only('constant', 'Only a constant warm-up is here, as in both papers.', 'linear'),
  'OPTIM.WARMUP_CONS_LR': numeric(0.00001, (warmup_lr) => ({ warmup_lr })),
  'OPTIM.WARMUP_MIN_LR': moot(0.00001),
  'OPTIM.WARMUP_RECOUNT': only(true, 'The cosine begins after the warm-up here, as in both papers.'),

  'TRAIN.CHECKPOINT_FREQ': moot(0), // a state is saved after each epoch
  'TRAIN.PRINT_FREQ': numeric(10, (print_freq) => ({ print_freq })),
  'TRAIN.COUNT_ITER': moot('train_x'),

  'TEST.EVALUATOR': only('Classification', UNLIKE),
  'TEST.PER_CLASS_RESULT': moot(false), // always in tests/
  'TEST.COMPUTE_CMAT': moot(false), // follows from tests/*.jsonl
  'TEST.NO_TEST': only(false, UNLIKE),
  'TEST.SPLIT': only('test', 'Runs are tested on the test split.'),
  'TEST.FINAL_MODEL': only('last_step', "The last epoch's prompts are the result, as in both papers."),

  'TRAINER.NAME': { default: '', take: (value, where) => (value === '' ? {} : trainer(value, where)) },
}

/** The methods' own sections; their context is read as a whole, by {@link context}. */
export const METHOD_KEYS: Readonly<Record<'COOP' | 'COCOOP', Readonly<Record<string, Key>>>> = {
  COOP: {
    N_CTX: moot(16),
    CTX_INIT: moot(''),
    PREC: moot('fp16'),
    CSC: { default: false, take: (value, where) => ({ csc: expectType('boolean', value, where) }) },
    CLASS_TOKEN_POSITION: {
      default: 'end',
      take: (value, where) => ({ class_token_position: oneOf(['end', 'middle', 'front'], value, where) }),
    },
  },
  COCOOP: { N_CTX: moot(16), CTX_INIT: moot(''), PREC: moot('fp16') },
}

/** The sections of `TRAINER`, by method. */
export const SECTION = { coop: 'COOP', cocoop: 'COCOOP' } as const

/**
 * The context of `N_CTX` and `CTX_INIT`. As in the original, words go before a number; unlike there, `n_ctx` counts their tokens.
 * @param explicit whether N_CTX was given at all
 * @returns options, and what to say of a number that does not count
 */
export function context(
  n_ctx: unknown,
  ctx_init: unknown,
  explicit: boolean,
  where: string,
): { options: Options; note: string | undefined } {
  const number = expectType('number', n_ctx, `${where}.N_CTX`)
  const words = expectType('string', ctx_init ?? '', `${where}.CTX_INIT`).replaceAll('_', ' ')
  if (words === '') return { options: { n_ctx: number, ctx_init: '' }, note: undefined }
  const count = words.split(' ').length
  const idle = explicit && number !== count
  return {
    options: { ctx_init: words, n_ctx: undefined },
    note: idle ? `${where}.N_CTX ${number} has no effect beside CTX_INIT "${words}", as in the original` : undefined,
  }
}

/** The originals' trainers as methods. */
function trainer(value: unknown, where: string): Options {
  if (value === 'CoOp') return { method: 'coop' }
  if (value === 'CoCoOp') return { method: 'cocoop' }
  if (value === 'ZeroshotCLIP' || value === 'ZeroshotCLIP2') return { method: 'zero-shot' }
  throw new TrainError('usage', `${where}: expected CoOp, CoCoOp, ZeroshotCLIP or ZeroshotCLIP2, got ${show(value)}`)
}

function oneOf<T extends string>(known: readonly T[], value: unknown, where: string): T {
  const found = known.find((one) => one === value)
  if (found !== undefined) return found
  throw new TrainError('usage', `${where}: expected one of ${known.join(', ')}, got ${show(value)}`)
}

interface Types {
  string: string
  number: number
  boolean: boolean
}

function expectType<T extends keyof Types>(type: T, value: unknown, where: string): Types[T] {
  if (typeof value === type) return value as Types[T]
  throw new TrainError('usage', `${where}: expected a ${type}, got ${show(value)}`)
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

function show(value: unknown): string {
  return JSON.stringify(value)
}
