/** `cocoop-train ablation`: the papers' ablations, a table for each question. */
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { TrainError } from '../errors.ts'
import { ablation, PARTS } from '../protocols/ablation.ts'
import { ELEVEN } from '../protocols/papers.ts'
import { list, outFlag, runStudy, STUDY, Study, words } from '../protocols/study.ts'

export const ablationCommand = defineCommand({
  name: 'ablation',
  summary: 'Ablations: context length, initialisation, class-specific, position, parameters',
  details: `context-length (4, 8, 16), initialisation (words or random), class-specific (one context or one per class), position (end, middle,
front), parameters (CoOp with 60 tokens has about as many as CoCoOp). Runs that several questions ask for are done once.`,
  flags: z.object({
    data: list("Data sets (default: the papers' eleven)", 'NAME|DIR'),
    part: list('Which questions', 'PART', ...PARTS),
    ...STUDY,
    out: outFlag('ablation'),
  }),
  examples: [
    'cocoop-train ablation --data emoji-kinds',
    'cocoop-train ablation --data emoji-kinds --part parameters --seed 1',
  ],
  run: async (flags, context) => {
    const parts = words(flags.part).map((word) => {
      const part = PARTS.find((known) => known === word)
      if (part === undefined)
        throw new TrainError('usage', `--part: there is no ${word}`, `Parts: ${PARTS.join(', ')}.`)
      return part
    })
    const study = await Study.create(flags, context)
    const plans = await ablation(study, flags.data.length > 0 ? words(flags.data) : ELEVEN, parts)
    return await runStudy('ablation', study, plans, [], context)
  },
})
