/** `cocoop-train train`: learns prompts and tests them. */
import { defineCommand } from '../command.ts'
import { figuresTable } from '../evaluate.ts'
import { sources } from '../presets/sources.ts'
import { TRAIN } from '../runs/options.ts'
import { runTraining } from '../runs/run.ts'

export const train = defineCommand({
  name: 'train',
  summary: 'Learn prompts (CoOp, CoCoOp) from a few images per class, or run what they are compared with',
  details: [
    "Defaults are the original trainers'. The run's folder holds config.json, log.txt, metrics.jsonl, checkpoints/, result.json and",
    'bundle.safetensors. Ctrl-C stops within one batch and saves a checkpoint; --resume goes on to the same bits, also after a crash.',
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
    const result = await runTraining(flags, context)
    if (Object.keys(result.metrics).length > 0) context.print(figuresTable(result.metrics))
    for (const [what, made] of [['bundle', result.bundle] as const, ['linear probe', result.probe] as const])
      if (made !== undefined) context.print(`${what} ${made.path} (${made.sha256.slice(0, 12)})`)
    return result
  },
})
