/** `cocoop-train models`: which models there are here and on the hub, and bringing one here. */
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { listModels } from './models-list.ts'
import { pullModel } from './models-pull.ts'

export const models = defineCommand({
  name: 'models',
  summary: 'List CLIP models, or pull one from the Hugging Face hub',
  details: `\`pull OWNER/NAME[@REVISION]\` brings a model into the cache that all libraries of the hub share; afterwards
--model OWNER/NAME opens it. A pull that was stopped goes on where it was. HF_ENDPOINT, HF_TOKEN, HF_HOME,
HF_HUB_CACHE and HF_HUB_OFFLINE mean what they mean to those libraries.`,
  flags: z.object({
    action: z
      .enum(['list', 'pull'])
      .default('list')
      .meta({ description: 'What to do', value: 'list|pull', positional: true }),
    model: z.string().optional().meta({
      description: 'A repository of the hub (pull)',
      value: 'MODEL',
      positional: true,
    }),
  }),
  examples: [
    'cocoop-train models list',
    'cocoop-train models pull openai/clip-vit-base-patch32',
    'cocoop-train train --model openai/clip-vit-base-patch32 --data photos',
  ],
  run: ({ action, model }, context) => (action === 'list' ? listModels(context) : pullModel(model, context)),
})
