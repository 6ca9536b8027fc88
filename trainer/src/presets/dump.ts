/** A run's options as the originals' configuration: what their log begins with. */
import type { EngineModel } from 'cocoop/node'
import type { TrainOptions } from '../runs/options.ts'
import { KEYS, METHOD_KEYS, SECTION } from './dassl.ts'

/** The originals' names of the methods. */
export const TRAINERS: Readonly<Record<string, string>> = {
  coop: 'CoOp',
  cocoop: 'CoCoOp',
  'zero-shot': 'ZeroshotCLIP',
  'linear-probe': 'linear_probe',
}

interface About {
  folder: string
  dataset: string
  backbone: string
  info: EngineModel['info']
}

/** Every key that `readOriginals` knows of the options' method, with the value that it has in this run. */
export function originalConfig(
  options: TrainOptions,
  { folder, dataset, backbone, info }: About,
): Record<string, unknown> {
  const { method } = options
  const section = method === 'coop' || method === 'cocoop' ? SECTION[method] : undefined
  const own = Object.entries(section === undefined ? {} : METHOD_KEYS[section])
  const all = [...Object.entries(KEYS), ...own.map(([name, key]) => [`TRAINER.${section}.${name}`, key] as const)]
  const context = {
    N_CTX: options.n_ctx,
    CTX_INIT: options.ctx_init,
    PREC: 'fp32',
    CSC: options.csc,
    CLASS_TOKEN_POSITION: options.class_token_position,
  }
  return {
    ...Object.fromEntries(all.map(([name, key]) => [name, key.default])),
    OUTPUT_DIR: folder,
    SEED: options.seed,
    USE_CUDA: false,
    'INPUT.SIZE': [info.image_size, info.image_size],
    'INPUT.INTERPOLATION': 'bicubic',
    'INPUT.TRANSFORMS':
      options.augment === 'crop-flip' ? ['random_resized_crop', 'random_flip', 'normalize'] : ['normalize'],
    'INPUT.PIXEL_MEAN': info.normalization.mean,
    'INPUT.PIXEL_STD': info.normalization.std,
    'DATASET.ROOT': options.root ?? '',
    'DATASET.NAME': dataset,
    'DATASET.NUM_SHOTS': options.shots === 0 ? -1 : options.shots,
    'DATASET.SUBSAMPLE_CLASSES': options.classes,
    'DATALOADER.TRAIN_X.BATCH_SIZE': options.batch_size,
    'MODEL.BACKBONE.NAME': backbone,
    'OPTIM.NAME': 'sgd',
    'OPTIM.LR': options.lr,
    'OPTIM.WEIGHT_DECAY': options.weight_decay,
    'OPTIM.MOMENTUM': options.momentum,
    'OPTIM.LR_SCHEDULER': 'cosine',
    'OPTIM.MAX_EPOCH': options.epochs,
    'OPTIM.WARMUP_EPOCH': options.warmup_epochs,
    'OPTIM.WARMUP_TYPE': 'constant',
    'OPTIM.WARMUP_CONS_LR': options.warmup_lr,
    'TRAIN.PRINT_FREQ': options.print_freq,
    'TRAINER.NAME': TRAINERS[method],
    ...Object.fromEntries(
      own.map(([name]) => [`TRAINER.${section}.${name}`, context[name as keyof typeof context]] as const),
    ),
  }
}

/** Lines of it: sections indented, keys in order, values as Python writes them. */
export function dump(config: Record<string, unknown>): string[] {
  const lines: string[] = []
  let open: string[] = []
  const order = Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1))
  for (const [key, value] of order) {
    const path = key.split('.')
    const sections = path.slice(0, -1)
    const shared = sections.findIndex((name, i) => open[i] !== name)
    for (let i = shared < 0 ? sections.length : shared; i < sections.length; i++)
      lines.push(`${'  '.repeat(i)}${sections[i]}:`)
    open = sections
    lines.push(`${'  '.repeat(sections.length)}${path.at(-1)}: ${python(value)}`.trimEnd())
  }
  return lines
}

function python(value: unknown): string {
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (Array.isArray(value))
    return `[${value.map((one) => (typeof one === 'string' ? `'${one}'` : python(one))).join(', ')}]`
  return String(value ?? '')
}
