/** `cocoop-train backbones`: the same experiment on several models. */
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { DEFAULT_MODEL } from '../models.ts'
import { backbones } from '../protocols/backbones.ts'
import { list, methods, outFlag, runStudy, STUDY, Study, words } from '../protocols/study.ts'

const { model: _, ...REST } = STUDY

export const backbonesCommand = defineCommand({
  name: 'backbones',
  summary: 'Compare CLIP models: zero-shot and learned prompts on each',
  details: 'A run on all classes for each model, data set, method and seed.',
  flags: z.object({
    data: list('Data sets', 'NAME|DIR', 'imagenet'),
    model: list('CLIP models: names in models/ or folders', 'NAME|DIR', DEFAULT_MODEL),
    method: list('Methods', 'METHOD', 'zero-shot,coop'),
    ...REST,
    out: outFlag('backbones'),
  }),
  examples: [
    'cocoop-train backbones --data emoji-kinds --model emoji-clip,./my-clip',
    'cocoop-train backbones --model RN50.pt,ViT-B-16.pt',
  ],
  run: async (flags, context) => {
    const study = await Study.create({ ...flags, model: undefined }, context)
    const plans = await backbones(study, words(flags.model), words(flags.data), methods(flags.method))
    return await runStudy('backbones', study, plans, [], context)
  },
})
