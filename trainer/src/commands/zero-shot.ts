/** `cocoop-train zero-shot`: CLIP without learning, by templates; several make an ensemble. */
import { nativeEngine } from 'cocoop/node'
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { openDataset } from '../datasets/open.ts'
import { sha256, writeDurably } from '../files.ts'
import { MEASURE, measureBundle } from '../measure.ts'
import { readModel } from '../models.ts'
import { selectClasses } from '../select.ts'
import { bundleName } from '../train-options.ts'

export const zeroShot = defineCommand({
  name: 'zero-shot',
  summary: 'Test CLIP without learning, with templates for the class names',
  flags: z.object({
    ...MEASURE,
    template: z
      .array(z.string().includes('{}'))
      .default(['a photo of a {}.'])
      .meta({ description: 'Text with {} for the class name' }),
    out: z.string().optional().meta({ description: 'Write the bundle to this file', value: 'FILE', short: 'o' }),
    name: z.string().optional().meta({ description: "The bundle's name (default DATA-zero-shot)", value: 'NAME' }),
  }),
  examples: [
    'cocoop-train zero-shot --data emoji-kinds',
    'cocoop-train zero-shot --data emoji-backdrops --template "a photo of a thing on a {} background." --out backdrops.safetensors',
  ],
  run: async (flags, context) => {
    const dataset = await openDataset(flags.data)
    const engine = await nativeEngine()
    const files = await readModel(flags.model)
    using model = await engine.loadModel(files, context)
    const classes = flags.classes ?? 'all'
    const bytes = await model.zeroShotBundle({
      classnames: await selectClasses(dataset, classes),
      templates: flags.template,
      metadata: {
        name: bundleName(flags.name ?? `${dataset.name}-zero-shot`),
        model_id: files.id,
        training: { dataset: dataset.name, classes },
        metrics: {},
      },
    })
    const result = await measureBundle({ bytes, from: 'zero-shot CLIP' }, { ...flags, classes }, context)
    if (flags.out === undefined) return result
    await writeDurably(flags.out, bytes)
    context.print(`bundle ${flags.out} (${sha256(bytes).slice(0, 12)})`)
    return { ...result, bundle: { path: flags.out, sha256: sha256(bytes) } }
  },
})
