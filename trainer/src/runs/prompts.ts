/** CoOp and CoCoOp as methods of a run: the engine's trainer over the run's images, epoch by epoch, to a bundle. */
import { learn } from './learn.ts'
import { type Method, provenance } from './method.ts'
import { trainSpec } from './options.ts'
import { bundlePredictor } from './predictor.ts'

export const prompts: Method = async (work) => {
  const { model, options, config, data, context } = work
  const spec = trainSpec(options, data.classnames)
  const trainer = await model.trainer(spec, data.images, Uint32Array.from(data.labels), context)
  const effort = await learn(trainer, work)
  const about = { name: options.name, model_id: config.model.id, training: provenance(work) }
  const bundle = await trainer.bundle({ ...about, metrics: {} })
  return {
    effort,
    predictor: bundlePredictor(model, bundle, context),
    artifact: async (metrics) => ({
      name: 'bundle.safetensors',
      bytes: await trainer.bundle({ ...about, metrics }),
    }),
  }
}
