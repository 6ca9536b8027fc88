/** `cocoop-train templates`: the sets of templates that were published with CLIP and CoOp. */
import { TEMPLATE_SETS } from 'cocoop/node'
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { table } from '../table.ts'
import { readTemplates } from '../templates.ts'

export const templates = defineCommand({
  name: 'templates',
  summary: 'List the sets of templates, or show one',
  details:
    'dataset:NAME is what CoOp wrote for a data set, clip:NAME what CLIP did. --templates of other commands takes them.',
  flags: z.object({
    set: z
      .string()
      .optional()
      .meta({ description: 'A set, or a file of templates', value: 'SET|FILE', positional: true }),
  }),
  examples: [
    'cocoop-train templates',
    'cocoop-train templates imagenet-7',
    'cocoop-train templates clip:eurosat --json',
  ],
  run: async ({ set }, { print }) => {
    if (set !== undefined) {
      const found = await readTemplates([set])
      for (const template of found) print(template)
      return { name: set, templates: found }
    }
    const sets = [...TEMPLATE_SETS].map(([name, templates]) => ({ name, templates }))
    const counts = table(
      ['set', 'n'],
      sets.map(({ name, templates }) => [name, String(templates.length)]),
    )
    const firsts = ['first template', '-'.repeat(14), ...sets.map(({ templates }) => templates[0])]
    for (const [i, line] of counts.split('\n').entries()) print(`${line}  ${firsts[i]}`)
    return sets
  },
})
