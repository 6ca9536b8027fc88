/** `cocoop-train domain-generalization`: prompts of one data set on variants of it that look different. */
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { TrainError } from '../errors.ts'
import { domainGeneralization, publishedShiftTable, variantsOf } from '../protocols/domain-generalization.ts'
import { list, methods, outFlag, runStudy, STUDY, Study, words } from '../protocols/study.ts'

export const domainGeneralizationCommand = defineCommand({
  name: 'domain-generalization',
  summary: 'Domain table: learn on one data set, test on shifted variants of it',
  details: `For each method and seed a run on all classes of the source, tested on it and on its variants: ImageNet-V2, -Sketch, -A and -R for
ImageNet, and the four styles for emoji-backdrops. The average is that of the variants.`,
  flags: z.object({
    source: z.string().default('imagenet').meta({ description: 'Data set to learn on', value: 'NAME|DIR' }),
    data: list('Variants to test on (default: those that the source is known to have)', 'NAME|DIR'),
    method: list('Methods', 'METHOD', 'zero-shot,coop,cocoop'),
    ...STUDY,
    out: outFlag('domain-generalization'),
  }),
  examples: [
    'cocoop-train domain-generalization --source emoji-backdrops',
    'cocoop-train domain-generalization --model openai/clip-vit-base-patch16 --published',
  ],
  run: async (flags, context) => {
    const study = await Study.create(flags, context)
    const { source } = flags
    const given = words(flags.data)
    const targets = given.length > 0 ? given : variantsOf(source)
    if (targets.length === 0)
      throw new TrainError('usage', '--data is missing', `Name the variants of ${source}: none are known by name.`)
    const chosen = methods(flags.method)
    const plans = await domainGeneralization(study, source, targets, chosen)
    const published = publishedShiftTable(await study.labels([source, ...targets]), chosen)
    return await runStudy('domain-generalization', study, plans, published, context)
  },
})
