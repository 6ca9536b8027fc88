/** The tables that a protocol left beside its runs, as they stand in tables.json: a report repeats them and computes none of their figures. */
import { join } from 'node:path'
import { z } from 'zod'
import { readJson } from '../files.ts'
import { type Html, html, table } from './html.ts'

const Tables = z.object({
  protocol: z.string(),
  tables: z.array(
    z.object({
      title: z.string(),
      columns: z.array(z.string()),
      rows: z.array(
        z.object({
          label: z.string(),
          cells: z.record(
            z.string(),
            z.object({ mean: z.number(), std: z.number(), values: z.array(z.unknown()) }).nullable(),
          ),
        }),
      ),
    }),
  ),
})

/** The protocol's name and its tables; `undefined` where the folder is of no protocol. */
export async function readProtocol(folder: string): Promise<{ name: string; tables: Html } | undefined> {
  const { success, data } = Tables.safeParse(await readJson(join(folder, 'tables.json')))
  if (!success) return undefined
  const tables = data.tables.map(({ title, columns, rows }) => {
    const cell = (figure: { mean: number; std: number; values: unknown[] } | null | undefined) =>
      figure ? `${figure.mean.toFixed(2)}${figure.values.length > 1 ? ` ± ${figure.std.toFixed(2)}` : ''}` : '–'
    return table(
      title,
      [{ head: '' }, ...columns.map((head) => ({ head, number: true }))],
      rows.map(({ label, cells }) => [label, ...columns.map((name) => cell(cells[name]))]),
    )
  })
  const note = 'Accuracy in percent: mean and population standard deviation over the seeds.'
  return { name: data.protocol, tables: html`<p class="note">${note}</p>${tables}` }
}
