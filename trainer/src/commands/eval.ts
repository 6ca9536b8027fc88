/** `cocoop-train eval`: tests a bundle, or templates, on a data set. */
import { z } from 'zod'
import { findBundle } from '../bundle-source.ts'
import { defineCommand } from '../command.ts'
import { TrainError } from '../errors.ts'
import { MEASURE, measureBundle } from '../measure.ts'
import { TEMPLATES } from '../templates.ts'
import { templateBundle } from '../zero-shot.ts'

export const evaluate = defineCommand({
  name: 'eval',
  summary: 'Test a bundle on a data set: accuracy, macro-F1, per class',
  details:
    "Classes other than the bundle's own are tested with the same prompt over their names (open vocabulary). --templates instead of a bundle tests zero-shot CLIP.",
  flags: z.object({
    bundle: z.string().optional().meta({
      description: "A bundle's file, a run's folder, or a published name",
      value: 'FILE|RUN|NAME',
      short: 'b',
    }),
    ...TEMPLATES,
    ...MEASURE,
  }),
  examples: [
    'cocoop-train eval --bundle runs/mine --data emoji-backdrops --classes new',
    'cocoop-train eval --bundle backdrops --data emoji-backdrops-noisy --per-class --json',
    'cocoop-train eval --bundle runs/mine --data my-photos/ --predictions predictions.jsonl',
    'cocoop-train eval --templates imagenet-80 --data emoji-kinds',
  ],
  run: async (flags, context) => {
    const { bundle, templates } = flags
    if (bundle !== undefined && templates.length === 0) {
      return await measureBundle(() => findBundle(bundle, flags), flags, context)
    }
    if (bundle !== undefined)
      throw new TrainError('usage', '--bundle does not go with --templates', 'A bundle has its own prompt.')
    if (templates.length === 0)
      throw new TrainError('usage', '--bundle is missing', 'Name a bundle, or templates by --templates.')
    const classes = flags.classes ?? 'all'
    return await measureBundle(
      async (bench) => ({
        bytes: await templateBundle(bench, { templates, classes }, context),
        from: templates.join(', '),
      }),
      { ...flags, classes },
      context,
    )
  },
})
