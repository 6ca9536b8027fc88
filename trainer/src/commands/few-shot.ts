/** `cocoop-train few-shot`: accuracy against the number of training images. */
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { fewShot, publishedZeroShotTable } from '../protocols/few-shot.ts'
import { ELEVEN } from '../protocols/papers.ts'
import { list, methods, outFlag, runStudy, STUDY, Study, words } from '../protocols/study.ts'
import { parseOption } from '../sweep/plan.ts'

const { shots: _, ...REST } = STUDY

/** The numbers of shots of a curve. */
export const CURVE = list('Training images per class', 'N', '1,2,4,8,16')

/** @throws TrainError `usage` */
export function parseShots(values: readonly string[]): number[] {
  const shots = words(values).map((n) => parseOption('shots', n, '--shots') as number)
  return shots.sort((a, b) => a - b)
}

export const fewShotCommand = defineCommand({
  name: 'few-shot',
  summary: 'Few-shot curves: accuracy at 1, 2, 4, 8 and 16 shots',
  details: `A run on all classes for each data set, method, number of shots and seed. CoOp has 16 tokens and runs 50 epochs at 1 shot, 100 at 2 and
4, 200 at 8 and 16, and 50 on ImageNet. Zero-shot stands at 0 shots. --option coop.class_token_position=middle and --option coop.csc=true are
the paper's other lines.`,
  flags: z.object({
    data: list("Data sets (default: the papers' eleven)", 'NAME|DIR'),
    method: list('Methods', 'METHOD', 'zero-shot,linear-probe,coop'),
    shots: CURVE,
    ...REST,
    out: outFlag('few-shot'),
  }),
  examples: [
    'cocoop-train few-shot --data emoji-kinds',
    'cocoop-train few-shot --data my-photos/ --shots 1,4,16 --method zero-shot,coop',
  ],
  run: async (flags, context) => {
    const study = await Study.create({ ...flags, shots: 0 }, context)
    const data = flags.data.length > 0 ? words(flags.data) : ELEVEN
    const plans = await fewShot(study, data, methods(flags.method), parseShots(flags.shots))
    return await runStudy('few-shot', study, plans, publishedZeroShotTable(await study.labels(data)), context)
  },
})
