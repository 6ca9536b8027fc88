/** `cocoop-train presets`: the configurations that CoOp and CoCoOp were published with, and what each sets. */
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { PRESETS, preset } from '../presets/table.ts'
import { table } from '../table.ts'

export const presets = defineCommand({
  name: 'presets',
  summary: 'List the published configurations, or show what one sets',
  details: '--preset NAME of `train` and of the protocols takes one in place of the defaults.',
  flags: z.object({
    name: z.string().optional().meta({ description: 'A configuration', value: 'NAME', positional: true }),
  }),
  examples: ['cocoop-train presets', 'cocoop-train presets vit_b16_c4_ep10_batch1_ctxv1 --json'],
  run: async ({ name }, { print }) => {
    if (name !== undefined) {
      const options = preset(name)
      for (const [key, value] of Object.entries(options)) print(`--${key.replaceAll('_', '-')} ${quote(value)}`)
      return { name, options }
    }
    const all = Object.entries(PRESETS).map(([name, options]) => ({ name, options }))
    const rows = all.map(({ name, options: { method, backbone, epochs, batch_size, n_ctx, ctx_init } }) => {
      const context = ctx_init ? `"${ctx_init}"` : `${n_ctx} random`
      return [name, String(method), String(backbone), String(epochs), String(batch_size), context]
    })
    print(table(['preset', 'method', 'backbone', 'epochs', 'batch', 'context'], rows))
    return all
  },
})

function quote(value: unknown): string {
  return typeof value === 'string' && !/^[\w/-]+$/.test(value) ? JSON.stringify(value) : String(value)
}
