/** `cocoop-train zero-shot`: CLIP without learning, by templates; several make an ensemble. */
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { sha256, writeDurably } from '../files.ts'
import { MEASURE, measureBundle } from '../measure.ts'
import { TEMPLATES } from '../templates.ts'
import { templateBundle } from '../zero-shot.ts'

export const zeroShot = defineCommand({
  name: 'zero-shot',
  summary: 'Test CLIP without learning, with templates for the class names',
  details:
    'Several templates are an ensemble: the mean of the normalised text features. `cocoop-train templates` lists the published sets.',
  flags: z.object({
    ...MEASURE,
    ...TEMPLATES,
    template: z
      .array(z.string().includes('{}'))
      .default([])
      .meta({ description: 'Text with {} for the class name (default "a photo of a {}.")' }),
    out: z.string().optional().meta({ description: 'Write the bundle to this file', value: 'FILE', short: 'o' }),
    name: z.string().optional().meta({ description: "The bundle's name (default DATA-zero-shot)", value: 'NAME' }),
  }),
  examples: [
    'cocoop-train zero-shot --data emoji-kinds',
    'cocoop-train zero-shot --data emoji-kinds --templates imagenet-7',
    'cocoop-train zero-shot --data my-pets/ --templates imagenet-7 --templates dataset:oxford_pets --model models/clip-vit-base-patch32',
    'cocoop-train zero-shot --data emoji-backdrops --template "a photo of a thing on a {} background." --out backdrops.safetensors',
  ],
  run: async (flags, context) => {
    const classes = flags.classes ?? 'all'
    const given = [...flags.templates, ...flags.template]
    const templates = given.length > 0 ? given : ['simple']
    let bytes = new Uint8Array()
    const result = await measureBundle(
      async (bench) => {
        bytes = await templateBundle(bench, { templates, classes, name: flags.name }, context)
        return { bytes, from: 'zero-shot CLIP' }
      },
      { ...flags, classes },
      context,
    )
    if (flags.out === undefined) return result
    await writeDurably(flags.out, bytes)
    context.print(`bundle ${flags.out} (${sha256(bytes).slice(0, 12)})`)
    return { ...result, bundle: { path: flags.out, sha256: sha256(bytes) } }
  },
})
