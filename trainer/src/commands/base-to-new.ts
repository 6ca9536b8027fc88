/** `cocoop-train base-to-new`: the papers' main table, trained on half of the classes and tested on both halves. */
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { baseToNew, publishedBaseToNewTable } from '../protocols/base-to-new.ts'
import { ELEVEN } from '../protocols/papers.ts'
import { list, methods, outFlag, runStudy, STUDY, Study, words } from '../protocols/study.ts'

export const baseToNewCommand = defineCommand({
  name: 'base-to-new',
  summary: 'Base-to-new table: train on half of the classes, test on both, H',
  details: `For each data set, method and seed a run on the base classes, tested on base and new ones; H is of the averages over the seeds.
CoOp and CoCoOp start from "a photo of a"; CoOp runs 200 epochs (50 on ImageNet), CoCoOp 10. The runs are a sweep: the same command goes on.`,
  flags: z.object({
    data: list("Data sets (default: the papers' eleven)", 'NAME|DIR'),
    method: list('Methods', 'METHOD', 'zero-shot,coop,cocoop'),
    ...STUDY,
    out: outFlag('base-to-new'),
  }),
  examples: [
    'cocoop-train base-to-new --data emoji-backdrops,emoji-kinds',
    'cocoop-train base-to-new --data emoji-kinds --method zero-shot,linear-probe,coop,cocoop --option coop.epochs=50 --per-seed',
    'cocoop-train base-to-new --model openai/clip-vit-base-patch16 --published',
  ],
  run: async (flags, context) => {
    const study = await Study.create(flags, context)
    const data = flags.data.length > 0 ? words(flags.data) : ELEVEN
    const chosen = methods(flags.method)
    const plans = await baseToNew(study, data, chosen)
    const published = publishedBaseToNewTable(await study.labels(data), chosen)
    return await runStudy('base-to-new', study, plans, published, context)
  },
})
