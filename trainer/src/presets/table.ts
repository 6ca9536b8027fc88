/**
 * The configurations that CoOp and CoCoOp were published with, by their files' names: what each sets, and nothing else.
 * All share SGD at 0.002, a cosine, one epoch at 1e-5 before it, random resized crop and flip: the defaults of runs/options.ts.
 */
import { TrainError } from '../errors.ts'
import { nearest } from '../flags.ts'
import type { TrainFlags } from '../runs/options.ts'

/** The options that a preset sets; `backbone` is what the model must be. */
export type Preset = Partial<TrainFlags> & Required<Pick<TrainFlags, 'backbone'>>

const WORDS = 'a photo of a'

/** What all the files say, so that a preset is whole even if a default of this project should change. */
const SHARED = {
  lr: 0.002,
  warmup_epochs: 1,
  warmup_lr: 0.00001,
  augment: 'crop-flip',
} as const satisfies Partial<TrainFlags>

/** CoOp without words has the original's 16 random tokens. */
function coop(backbone: string, epochs: number, ctx_init = ''): Preset {
  const context = ctx_init === '' ? { n_ctx: 16, ctx_init } : { ctx_init }
  return { method: 'coop', backbone, epochs, batch_size: 32, print_freq: 5, ...context, ...SHARED }
}

function cocoop(n_ctx: number, ctx_init = ''): Preset {
  return {
    method: 'cocoop',
    backbone: 'ViT-B/16',
    epochs: 10,
    batch_size: 1,
    print_freq: 20,
    n_ctx,
    ctx_init,
    ...SHARED,
  }
}

export const PRESETS: Readonly<Record<string, Preset>> = {
  rn50: coop('RN50', 200),
  rn50_ep100: coop('RN50', 100),
  rn50_ep50: coop('RN50', 50),
  rn50_ctxv1: coop('RN50', 200, WORDS),
  rn50_ep50_ctxv1: coop('RN50', 50, WORDS),
  rn101: coop('RN101', 200),
  rn101_ep50: coop('RN101', 50),
  vit_b32: coop('ViT-B/32', 200),
  vit_b32_ep50: coop('ViT-B/32', 50),
  vit_b16: coop('ViT-B/16', 200),
  vit_b16_ep100: coop('ViT-B/16', 100),
  vit_b16_ep50: coop('ViT-B/16', 50),
  vit_b16_ctxv1: coop('ViT-B/16', 200, WORDS),
  vit_b16_ep100_ctxv1: coop('ViT-B/16', 100, WORDS),
  vit_b16_ep50_ctxv1: coop('ViT-B/16', 50, WORDS),
  vit_b16_c4_ep10_batch1_ctxv1: cocoop(4, WORDS),
  vit_b16_c4_ep10_batch1: cocoop(4),
  vit_b16_c8_ep10_batch1: cocoop(8),
  vit_b16_c16_ep10_batch1: cocoop(16),
}

/** The one published configuration that trains nothing. */
export const FEATURES_ONLY = 'rn50_val'

/**
 * The options of a preset.
 * @throws TrainError `usage` for `rn50_val`; `not_found` with the nearest name for one that there is not
 */
export function preset(name: string): Preset {
  const found = Object.hasOwn(PRESETS, name) ? PRESETS[name] : undefined
  if (found !== undefined) return found
  if (name === FEATURES_ONLY) {
    throw new TrainError(
      'usage',
      `${FEATURES_ONLY} has no optimiser: the original extracts features with it, for the linear probe`,
      'Run the probe by --method linear-probe, which keeps features by itself.',
    )
  }
  const near = nearest(name, [...Object.keys(PRESETS), FEATURES_ONLY])
  const hint = '`cocoop-train presets` lists them.'
  throw new TrainError('not_found', `there is no preset called ${name}`, near ? `Did you mean ${near}? ${hint}` : hint)
}
