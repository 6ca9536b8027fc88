/** `cocoop-train models`: which models there are here and on the hub, bringing one here, looking into one, converting it. */
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { TrainError } from '../errors.ts'
import { CONVERT, convertModel } from './models-convert.ts'
import { inspectModel } from './models-inspect.ts'
import { listModels } from './models-list.ts'
import { pullModel } from './models-pull.ts'

export const models = defineCommand({
  name: 'models',
  summary: 'List CLIP models, pull one from the Hugging Face hub, look into one, convert one',
  details: `\`pull OWNER/NAME[@REVISION]\` brings a model into the cache that all libraries of the hub share; afterwards
--model OWNER/NAME opens it. A pull that was stopped goes on where it was. HF_ENDPOINT, HF_TOKEN, HF_HOME,
HF_HUB_CACHE and HF_HUB_OFFLINE mean what they mean to those libraries.
\`inspect\` says what a model's files hold and, of one that cannot be used, why; \`convert\` writes one safetensors file.`,
  flags: z.object({
    action: z
      .enum(['list', 'pull', 'inspect', 'convert'])
      .default('list')
      .meta({ description: 'What to do', value: 'list|pull|inspect|convert', positional: true }),
    model: z.string().optional().meta({
      description: 'A repository of the hub (pull); what --model takes (inspect, convert)',
      value: 'MODEL',
      positional: true,
    }),
    ...CONVERT,
  }),
  examples: [
    'cocoop-train models list',
    'cocoop-train models pull openai/clip-vit-base-patch32',
    'cocoop-train train --model openai/clip-vit-base-patch32 --data photos',
    'cocoop-train models inspect ViT-B-32.pt',
    'cocoop-train models convert ViT-B-32.pt --dtype f16 --names hf --out models/vit-b-32',
  ],
  run: (flags, context) => {
    const { action, model } = flags
    if (action === 'list') return listModels(context)
    if (action === 'pull') return pullModel(model, context)
    if (model === undefined)
      throw new TrainError('usage', `models ${action}: MODEL is missing`, 'It is what --model takes elsewhere.')
    return action === 'inspect' ? inspectModel(model, context) : convertModel(model, flags, context)
  },
})
