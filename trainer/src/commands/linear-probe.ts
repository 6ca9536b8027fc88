/** `cocoop-train linear-probe`: what a linear probe needs to be as good as zero-shot CLIP, and CoOp beside it. */
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { linearProbe, publishedZeroShotTable } from '../protocols/few-shot.ts'
import { ELEVEN } from '../protocols/papers.ts'
import { list, methods, outFlag, runStudy, STUDY, Study, words } from '../protocols/study.ts'
import { CURVE, parseShots } from './few-shot.ts'

const { shots: _, ...REST } = STUDY

export const linearProbeCommand = defineCommand({
  name: 'linear-probe',
  summary: 'Linear probes against zero-shot and CoOp, over the number of shots',
  details: `A row for each data set: zero-shot, the probe and CoOp at each number of shots, and how many shots it takes to match zero-shot,
log-linear between those that were measured. One probe alone is \`cocoop-train train --method linear-probe\`.`,
  flags: z.object({
    data: list("Data sets (default: the papers' eleven)", 'NAME|DIR'),
    method: list('What to compare with zero-shot', 'METHOD', 'linear-probe,coop'),
    shots: CURVE,
    ...REST,
    out: outFlag('few-shot'),
  }),
  examples: [
    'cocoop-train linear-probe --data emoji-kinds,emoji-backdrops',
    'cocoop-train linear-probe --data my-photos/ --method linear-probe',
  ],
  run: async (flags, context) => {
    const study = await Study.create({ ...flags, shots: 0 }, context)
    const data = flags.data.length > 0 ? words(flags.data) : ELEVEN
    const plans = await linearProbe(study, data, methods(flags.method), parseShots(flags.shots))
    return await runStudy('linear-probe', study, plans, publishedZeroShotTable(await study.labels(data)), context)
  },
})
