/** `cocoop-train train`: learns prompts and tests them. */
import { messageOf } from 'cocoop/node'
import { type Context, defineCommand } from '../command.ts'
import { follow } from '../distributed/follow.ts'
import { Leader } from '../distributed/leader.ts'
import { type Place, placeOf } from '../distributed/place.ts'
import { codeOf } from '../errors.ts'
import { figuresTable } from '../evaluate.ts'
import { sources } from '../presets/sources.ts'
import { TRAIN, type TrainFlags } from '../runs/options.ts'
import type { RunResult } from '../runs/result.ts'
import { runTraining } from '../runs/run.ts'

export const train = defineCommand({
  name: 'train',
  summary: 'Learn prompts (CoOp, CoCoOp) from a few images per class, or run what they are compared with',
  details: [
    "Defaults are the original trainers'. The run's folder holds config.json, log.txt, metrics.jsonl, checkpoints/, result.json and",
    'bundle.safetensors. Ctrl-C stops within one batch and saves a checkpoint; --resume goes on to the same bits, also after a crash.',
    'Several processes train one run where WORLD_SIZE, RANK and MASTER_ADDR say so, as torchrun sets them: docs/distributed.md.',
  ].join('\n'),
  flags: TRAIN,
  sources,
  examples: [
    'cocoop-train train --data emoji-backdrops --method cocoop --classes base',
    'cocoop-train train --data my-photos/ --method coop --shots 4 --model models/clip-vit-base-patch32 --out runs/mine',
    'cocoop-train train --resume --out runs/mine',
    'cocoop-train train --data oxford_pets --preset vit_b16_c4_ep10_batch1_ctxv1 --model openai/clip-vit-base-patch16 --classes base',
    'cocoop-train train --config configs/datasets/dtd.yaml --config configs/trainers/CoOp/rn50.yaml --method coop --set TRAINER.COOP.CSC=True',
    'cocoop-train train --config runs/mine/config.json --seed 2 --out runs/mine-2',
  ],
  run: async (flags, context) => {
    const place = placeOf(process.env)
    if (place !== undefined && place.rank > 0) {
      await follow(flags, context, place)
      return { rank: place.rank, world: place.world } // rank 0 has the result
    }
    const result = place === undefined ? await runTraining(flags, context) : await lead(flags, context, place)
    if (Object.keys(result.metrics).length > 0) context.print(figuresTable(result.metrics))
    for (const [what, made] of [['bundle', result.bundle] as const, ['linear probe', result.probe] as const])
      if (made !== undefined) context.print(`${what} ${made.path} (${made.sha256.slice(0, 12)})`)
    return result
  },
})

/** The run as rank 0: the others learn how it ends, whatever that is. */
async function lead(flags: TrainFlags, context: Context, place: Place): Promise<RunResult> {
  const leader = await Leader.listen(place)
  context.terminal.log(`rank 0 of ${place.world} listens at ${place.host}:${place.port}`)
  try {
    const result = await runTraining(flags, context, leader)
    await leader.end()
    return result
  } catch (cause) {
    await leader.end({ code: codeOf(cause), message: messageOf(cause) })
    throw cause
  }
}
