/** What the two transfer protocols share: a column for the source, one for each target, and the average of the targets. */
import type { MethodName } from '../runs/options.ts'
import { type Cell, mean } from './cells.ts'
import { publishedTable } from './papers.ts'
import { LABELS } from './study.ts'
import type { Column, Table } from './tables.ts'

/** The first name is the source's. */
export function transferColumns([source = '', ...targets]: readonly string[]): Column[] {
  const group = 'tested on'
  return [
    { label: source, group: 'source' },
    ...targets.map((label) => ({ label, group })),
    { label: 'average', group },
  ]
}

/** The average is that of the targets: the source is what was learned. */
export function transferRow(method: MethodName, cells: readonly Cell[]): { label: string; cells: Cell[] } {
  return { label: LABELS[method] ?? method, cells: [...cells, mean(cells.slice(1))] }
}

/** The published table, where the source is the papers' own. */
export function publishedTransfer(
  title: string,
  names: readonly string[],
  methods: readonly MethodName[],
  figure: (method: MethodName, name: string) => number | undefined,
): Table[] {
  if (names[0] !== 'imagenet') return []
  const rows = methods.map((method) => {
    const values = names.map((name) => figure(method, name))
    const others = values.slice(1).flatMap((value) => value ?? [])
    const whole = others.length > 0 && others.length === names.length - 1
    const average = whole ? others.reduce((sum, value) => sum + value, 0) / others.length : undefined
    return { label: LABELS[method] ?? method, values: [...values, average] }
  })
  return publishedTable({ title, corner: 'method', columns: transferColumns(names) }, rows)
}
