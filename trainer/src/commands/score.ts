/** `cocoop-train score`: how well texts fit images. */
import { nativeEngine } from 'cocoop/node'
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { ROOT } from '../datasets/root.ts'
import { EXIT, TrainError } from '../errors.ts'
import { CACHE, FeatureCache } from '../feature-cache.ts'
import { embedEach } from '../images.ts'
import { type LeftOut, leaveOut } from '../left-out.ts'
import { listImages } from '../listing.ts'
import { openModel } from '../models.ts'
import { SOURCE } from '../runs/options.ts'
import { table } from '../table.ts'
import { embedTexts } from '../text-features.ts'
import { TEXTS, textsOf } from '../texts.ts'

export const score = defineCommand({
  name: 'score',
  summary: 'Cosine and probability of texts for images',
  details:
    "The probability is the softmax of an image's cosines over the given texts, at the model's own scale: it says which fits best, not whether any does.",
  flags: z.object({
    images: z
      .array(z.string())
      .min(1)
      .meta({ description: 'Images: files, folders, data sets', value: 'IMAGE...', positional: true }),
    ...TEXTS,
    ...ROOT,
    model: SOURCE.model,
    ...CACHE,
  }),
  examples: [
    'cocoop-train score photo.jpg --text "a diagram" --text "a dog" --text "a cat"',
    'cocoop-train score photos/ --texts labels.txt --json',
  ],
  run: async (flags, context) => {
    const { print, exit, signal, terminal } = context
    const texts: string[] = []
    for await (const text of textsOf(flags)) texts.push(text)
    if (texts.length === 0)
      throw new TrainError('usage', 'there is no text', 'Give texts by --text TEXT or --texts FILE.')
    const listed = await listImages(flags.images, flags)
    const engine = await nativeEngine()
    using model = (await openModel(engine, flags.model, context)).model
    const { embed_dim, logit_scale } = model.info
    const cache = new FeatureCache({ engine, model, enabled: flags.cache, terminal })
    const textFeatures = await embedTexts({ model, cache }, texts, { ...context, truncate: flags.truncate })
    const images: { path: string; scores: { text: string; cosine: number; prob: number }[] }[] = []
    const left_out: LeftOut[] = []
    for await (const batch of embedEach(model, listed, signal)) {
      const { good, features, bad } = leaveOut(batch, embed_dim, terminal)
      left_out.push(...bad)
      const { cosines, probs } = await model.score(features, textFeatures, { signal })
      for (const [i, { path }] of good.entries()) {
        const at = (values: Float32Array, j: number) => values[i * texts.length + j] ?? Number.NaN
        const scores = texts.map((text, j) => ({ text, cosine: at(cosines, j), prob: at(probs, j) }))
        images.push({ path, scores })
      }
      terminal.status(`encoding images ${batch.start + batch.items.length}/${listed.length}`)
    }
    const [first] = left_out
    if (images.length === 0 && first !== undefined) throw new TrainError(first.code, `${first.path}: ${first.message}`)
    for (const { path, scores } of images) {
      const rows = scores
        .toSorted((a, b) => b.cosine - a.cosine)
        .map(({ text, cosine, prob }) => [text, cosine.toFixed(4), `${(100 * prob).toFixed(2)}%`])
      print(table([path, 'cosine', 'probability'], rows))
    }
    if (left_out.length > 0) exit(EXIT.partial)
    return { logit_scale: logit_scale === null ? null : Math.exp(logit_scale), images, left_out }
  },
})
