/** Our side of the training bench: steps of the addon's Trainer, as the command line runs them. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { nativeEngine } from 'cocoop/node'
import { classnames } from './classnames.mjs'

const png = readFileSync(resolve(import.meta.dirname, '../../fixtures/preprocess/in/rgb_224x224.png'))
/** Images of an epoch whose features come anew: the trainer encodes so many at a time, whatever the batch. */
const ENCODED = 8

const engine = await nativeEngine()

/** The model of a folder, as `--model` opens it. */
export async function openModel(folder) {
  return await engine.openModel({ paths: [resolve(folder, 'model.safetensors')], config: '' })
}

/** The tokens of a case's prompts, with a word for each vector that is learned. */
export function tokens({ classes, n_ctx }) {
  return classnames(classes).map((name) => [...engine.tokenize(`${'X '.repeat(n_ctx)}${name}.`)])
}

/**
 * A run of `of` {classes, n_ctx, conditional, batch, encode}: `step()` trains an epoch and gives the milliseconds of one step.
 * With `encode` each epoch sees new views of its images, otherwise features that are there already, as of `embedViews`.
 */
export async function training(model, { classes, n_ctx, conditional, batch, encode }) {
  const n = encode ? Math.max(batch, ENCODED) : batch * Math.ceil(4 / batch)
  const spec = {
    method: conditional ? 'cocoop' : 'coop',
    classnames: classnames(classes),
    n_ctx,
    ctx_init: null,
    csc: false,
    class_token_position: 'end',
    meta_net_reduction: 16,
    epochs: 1000,
    batch_size: batch,
    lr: 0.002,
    momentum: 0.9,
    weight_decay: 5e-4,
    warmup_epochs: 1,
    warmup_lr: 1e-5,
    augment: 'crop-flip',
    views: encode ? 0 : 1,
    seed: 1,
  }
  const labels = Uint32Array.from({ length: n }, (_, i) => i % classes)
  const images = encode ? Array.from({ length: n }, () => png) : []
  const trainer = await model.trainer(spec, images, labels, encode ? {} : { features: unit(n, model.info.embed_dim) })
  const step = async () => {
    const start = performance.now()
    await trainer.epoch(() => {})
    return ((performance.now() - start) * batch) / n
  }
  return { step }
}

/** Rows (n, width) of length 1. */
function unit(n, width) {
  return Float32Array.from({ length: n * width }, (_, i) => (i % 2 ? 1 : -1) / Math.sqrt(width))
}
