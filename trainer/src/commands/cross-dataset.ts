/** `cocoop-train cross-dataset`: prompts of one data set on others. */
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { TrainError } from '../errors.ts'
import { crossDataset, publishedCrossTable } from '../protocols/cross-dataset.ts'
import { ELEVEN } from '../protocols/papers.ts'
import { list, methods, outFlag, runStudy, STUDY, Study, words } from '../protocols/study.ts'

export const crossDatasetCommand = defineCommand({
  name: 'cross-dataset',
  summary: 'Cross-dataset table: learn on one data set, test on others',
  details: `For each method and seed a run on all classes of the source, tested on all classes of each target. Zero-shot is tested on each
set with the set's own template. The average is that of the targets.`,
  flags: z.object({
    source: z.string().default('imagenet').meta({ description: 'Data set to learn on', value: 'NAME|DIR' }),
    data: list("Data sets to test on (default for ImageNet: the papers' ten others)", 'NAME|DIR'),
    method: list('Methods', 'METHOD', 'zero-shot,coop,cocoop'),
    ...STUDY,
    out: outFlag('cross-dataset'),
  }),
  examples: [
    'cocoop-train cross-dataset --source emoji-backdrops --data emoji-kinds',
    'cocoop-train cross-dataset --model openai/clip-vit-base-patch16 --published',
  ],
  run: async (flags, context) => {
    const study = await Study.create(flags, context)
    const { source } = flags
    const given = words(flags.data)
    const targets = given.length > 0 || source !== 'imagenet' ? given : ELEVEN.filter((name) => name !== source)
    if (targets.length === 0) throw new TrainError('usage', '--data is missing', 'Name the sets to test on.')
    const chosen = methods(flags.method)
    const plans = await crossDataset(study, source, targets, chosen)
    const published = publishedCrossTable(await study.labels([source, ...targets]), chosen)
    return await runStudy('cross-dataset', study, plans, published, context)
  },
})
