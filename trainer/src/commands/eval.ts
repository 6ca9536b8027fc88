/** `cocoop-train eval`: tests a bundle on a data set. */
import { z } from 'zod'
import { findBundle } from '../bundle-source.ts'
import { defineCommand } from '../command.ts'
import { MEASURE, measureBundle } from '../measure.ts'

export const evaluate = defineCommand({
  name: 'eval',
  summary: 'Test a bundle on a data set: accuracy, macro-F1, per class',
  details: "Classes other than the bundle's own are tested with the same prompt over their names (open vocabulary).",
  flags: z.object({
    bundle: z.string().meta({
      description: "A bundle's file, a run's folder, or a published name",
      value: 'FILE|RUN|NAME',
      short: 'b',
    }),
    ...MEASURE,
  }),
  examples: [
    'cocoop-train eval --bundle runs/mine --data emoji-backdrops --classes new',
    'cocoop-train eval --bundle backdrops --data emoji-backdrops-noisy --per-class --json',
    'cocoop-train eval --bundle runs/mine --data my-photos/ --predictions predictions.jsonl',
  ],
  run: async (flags, context) => measureBundle(await findBundle(flags.bundle, flags), flags, context),
})
