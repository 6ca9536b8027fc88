/** `cocoop-train pack`: a model as it is served: quantised or not, in shards, with or without its text tower. */
import { existsSync } from 'node:fs'
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { TrainError } from '../errors.ts'
import { BITS, makePack, type PackOptions } from '../packs.ts'
import { formatBytes } from '../progress.ts'
import { table } from '../table.ts'

/** What the bits cost; `npm run bench -- accuracy` measures it. */
const COST: Record<PackOptions['bits'], string> = {
  32: 'exact: the numbers of the model',
  16: 'exact for a model that is stored in 16 bits',
  8: 'features differ a little from those at 32 bits: run your own `eval` on what matters to you',
  4: 'features differ more than at 8 bits: run your own `eval` on what matters to you',
}

export const BITS_FLAG = z
  .number()
  .refine((bits): bits is PackOptions['bits'] => BITS.includes(bits), `expected ${BITS.join(', ')}`)

export const pack = defineCommand({
  name: 'pack',
  summary: 'Make a model pack: a model in shards, at 32, 16, 8 or 4 bits',
  details:
    'Bundles of the model open on each of its packs. A pack is served from a folder, Workers KV, static assets or any web server; `publish --model PACK` brings it to the store.',
  flags: z.object({
    model: z.string().meta({ description: 'A name in models/ or a folder', value: 'MODEL', positional: true }),
    bits: BITS_FLAG.default(8).meta({ description: 'Bits of the linear layers', value: BITS.join('|') }),
    towers: z.enum(['vision,text', 'vision', 'text']).default('vision,text').meta({
      description: 'Without text, zero-shot and CoOp bundles are served, CoCoOp and other class names are not',
    }),
    out: z.string().meta({ description: 'The folder to make', value: 'DIR', short: 'o' }),
  }),
  examples: [
    'cocoop-train pack emoji-clip --bits 8 --out packs/emoji-clip-8',
    'cocoop-train pack ./clip-vit-base-patch32 --bits 4 --towers vision --out packs/b32-4-vision',
  ],
  run: async ({ model, bits, towers, out }, context) => {
    if (existsSync(out)) throw new TrainError('exists', `${out} is there already`)
    const made = await makePack(model, out, { bits, towers: towers.split(',') as PackOptions['towers'] }, context)
    const { manifest, sha256 } = made
    const rows = (['vision', 'text', 'tokens'] as const).map((tower) => {
      const shards = made.shards(tower)
      const bytes = shards.reduce((sum, shard) => sum + shard.bytes, 0)
      return { tower, shards: shards.length, bytes }
    })
    context.print(
      table(
        ['tower', 'shards', 'size'],
        rows.map(({ tower, shards, bytes }) => [tower, String(shards), formatBytes(bytes)]),
      ),
    )
    context.print(`${out}: ${manifest.id} at ${bits} bits, ${sha256.slice(0, 12)}\naccuracy: ${COST[bits]}`)
    return { folder: out, sha256, id: manifest.id, bits, source_sha256: manifest.source_sha256, towers: rows }
  },
})
