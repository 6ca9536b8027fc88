/** Base-to-new generalisation (CoCoOp, section 4.1): trained on the first half of the classes, tested on both; H of the averages. */

import { harmonicMean } from '../metrics.ts'
import { isBound, type MethodName } from '../runs/options.ts'
import { accuracy, type Cell, harmonic, mean, NOTHING } from './cells.ts'
import { comparedOptions, publishedBaseToNew, publishedTable } from './papers.ts'
import { LABELS, type Study } from './study.ts'
import type { Column, Table, TablePlan } from './tables.ts'

export async function baseToNew(
  study: Study,
  data: readonly string[],
  methods: readonly MethodName[],
): Promise<TablePlan[]> {
  const rows: TablePlan['rows'] = []
  for (const one of data) {
    const label = await study.label(one)
    const cells: Cell[] = []
    for (const method of methods) {
      const options = { ...comparedOptions(method, label), classes: 'base' as const }
      const jobs = await study.runs({ ...options, data: one, method })
      const base = accuracy(jobs, label, 'base')
      // A linear probe has an output for each class that it was trained on, and no other.
      const fresh = isBound({ method, csc: false }) ? NOTHING : accuracy(jobs, label, 'new')
      cells.push(base, fresh, fresh === NOTHING ? NOTHING : harmonic(base, fresh))
    }
    rows.push({ label, cells })
  }
  if (rows.length > 1) {
    const column = (i: number) => rows.flatMap(({ cells }) => cells[i] ?? [])
    const cells = methods.flatMap((method, i) => {
      const base = mean(column(3 * i))
      if (isBound({ method, csc: false })) return [base, NOTHING, NOTHING]
      const fresh = mean(column(3 * i + 1))
      return [base, fresh, harmonic(base, fresh)]
    })
    rows.push({ label: 'average', cells })
  }
  return [
    { title: 'Base-to-new generalisation, accuracy in percent', corner: 'data set', columns: columnsOf(methods), rows },
  ]
}

/** Table 1 of CoCoOp, for the sets that are in it. */
export function publishedBaseToNewTable(names: readonly string[], methods: readonly MethodName[]): Table[] {
  const rows = names.map((label) => ({
    label,
    values: methods.flatMap((method) => {
      const figures = publishedBaseToNew(label, method)
      return figures === undefined
        ? [undefined, undefined, undefined]
        : [figures.base, figures.new, harmonicMean(figures.base, figures.new)]
    }),
  }))
  const title = 'Published (CoCoOp, Table 1: ViT-B/16 of OpenAI, 16 shots, 3 seeds)'
  return publishedTable({ title, corner: 'data set', columns: columnsOf(methods) }, rows)
}

function columnsOf(methods: readonly MethodName[]): Column[] {
  return methods.flatMap((method) => ['base', 'new', 'H'].map((label) => ({ label, group: LABELS[method] ?? method })))
}
