/** Zero-shot CLIP as a method of a run: nothing is learned, and the bundle holds the templates' text features. */
import { readTemplates } from '../templates.ts'
import { zeroShotBundle } from '../text-features.ts'
import { type Method, provenance } from './method.ts'
import { bundlePredictor } from './predictor.ts'

export const zeroShot: Method = async (work) => {
  const { model, cache, options, config, data, context } = work
  const started = performance.now()
  const spec = { classnames: data.classnames, templates: await readTemplates(options.templates) }
  const about = { name: options.name, model_id: config.model.id, training: provenance(work) }
  const make = (metrics: Record<string, unknown>) =>
    zeroShotBundle({ model, cache }, { ...spec, metadata: { ...about, metrics } }, context)
  const bundle = await make({})
  return {
    effort: { loss: Number.NaN, steps: 0, seconds: (performance.now() - started) / 1000, images: 0 },
    predictor: bundlePredictor(model, bundle, context),
    artifact: async (metrics) => ({ name: 'bundle.safetensors', bytes: await make(metrics) }),
  }
}
