/** CoOp and CoCoOp as methods of a run: the engine's trainer over the run's images, epoch by epoch, to a bundle. */
import { viewFeatures } from '../image-features.ts'
import { learn } from './learn.ts'
import { type Method, provenance } from './method.ts'
import { type TrainOptions, trainSpec } from './options.ts'
import { bundlePredictor } from './predictor.ts'

export const prompts: Method = async (work) => {
  const { model, options, config, data, context, reading, leader } = work
  const spec = trainSpec(options, data.classnames)
  const started = performance.now()
  // Ranks share the images of a batch, so that each encodes its own when it comes to them.
  const views = leader === undefined ? viewsBefore(options, data.images.length) : 0
  const features = views > 0 ? await viewFeatures(work, data.images, { ...options, views }, reading) : undefined
  const images = features === undefined ? data.images : []
  const trainer = await model.trainer(spec, images, Uint32Array.from(data.labels), { ...context, features })
  const preparing = (performance.now() - started) / 1000
  const learned = await learn(trainer, work)
  const about = { name: options.name, model_id: config.model.id, training: provenance(work) }
  const bundle = await trainer.bundle({ ...about, metrics: {} })
  return {
    effort: { ...learned, seconds: preparing + learned.seconds },
    predictor: bundlePredictor(model, bundle, context),
    artifact: async (metrics) => ({
      name: 'bundle.safetensors',
      bytes: await trainer.bundle({ ...about, metrics }),
    }),
  }
}

/** Views of images that are encoded before learning begins, and kept for other runs: half an hour of a ViT-B/16 on two cores. */
const MOST_BEFORE = 20_000

/**
 * How many views of each image to encode before: all that the run will see, unless they are too many to let people wait for the first
 * step. Then the run encodes each when it comes to it, to the same bits. Depends on nothing but the options: a checkpoint knows which.
 */
function viewsBefore({ augment, views, epochs }: TrainOptions, n: number): number {
  if (augment === 'none') return 1
  if (views > 0) return views
  return n * epochs <= MOST_BEFORE ? epochs : 0
}
