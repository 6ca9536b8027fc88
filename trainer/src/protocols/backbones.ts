/** The same experiment on several CLIP models (CoOp, Table 2 and Figure 5 compare RN50, RN101, ViT-B/32 and ViT-B/16). */
import { basename } from 'node:path'
import type { MethodName } from '../runs/options.ts'
import { accuracy, type Cell, mean } from './cells.ts'
import { epochsFor } from './papers.ts'
import { LABELS, type Study } from './study.ts'
import type { Column, TablePlan } from './tables.ts'

export async function backbones(
  study: Study,
  models: readonly string[],
  data: readonly string[],
  methods: readonly MethodName[],
): Promise<TablePlan[]> {
  const names = await Promise.all(data.map((one) => study.label(one)))
  const rows: TablePlan['rows'] = []
  for (const model of models) {
    const sets: Cell[][] = []
    for (const [i, one] of data.entries()) {
      const label = names[i] ?? one
      const cells: Cell[] = []
      for (const method of methods) {
        cells.push(accuracy(await study.runs({ ...epochsFor(method, label), data: one, method, model }), label, 'all'))
      }
      sets.push(cells)
    }
    const averages = methods.map((_, i) => mean(sets.flatMap((cells) => cells[i] ?? [])))
    rows.push({ label: basename(model), cells: [...sets.flat(), ...(sets.length > 1 ? averages : [])] })
  }
  const columns: Column[] = [...names, ...(names.length > 1 ? ['average'] : [])].flatMap((group) =>
    methods.map((method) => ({ label: LABELS[method] ?? method, group })),
  )
  return [{ title: 'Backbones, accuracy in percent', corner: 'model', columns, rows }]
}
