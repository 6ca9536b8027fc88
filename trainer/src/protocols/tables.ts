/** Tables in the papers' shape: as text, Markdown, CSV and JSON. */
import type { Cell, Figure, Read } from './cells.ts'

export interface Column {
  label: string
  /** Stands above the columns that share it: a method. */
  group?: string
}

export interface TablePlan {
  title: string
  /** What the rows are. */
  corner: string
  columns: Column[]
  rows: { label: string; cells: Cell[] }[]
}

/** A table with its figures. */
export interface Table {
  title: string
  corner: string
  columns: Column[]
  rows: { label: string; figures: (Figure | null)[]; digits: number[] }[]
}

const NONE = '-'

/** Fills the cells. */
export function fill({ title, corner, columns, rows }: TablePlan, read: Read): Table {
  const filled = rows.map(({ label, cells }) => ({
    label,
    figures: cells.map((cell) => cell.figure(read) ?? null),
    digits: cells.map(({ digits }) => digits),
  }))
  return { title, corner, columns, rows: filled }
}

/** Means, as the papers print them; a line with the methods stands above. */
export function text(table: Table): string {
  const rows = cellsOf(table)
  const widths = table.columns.map(({ label }, i) => Math.max(label.length, ...rows.map((row) => row[i]?.length ?? 0)))
  const runs = groupRuns(table.columns)
  for (const { group, from, to } of runs) {
    const room = widths.slice(from, to).reduce((sum, width) => sum + width, 2 * (to - from - 1))
    widths[to - 1] = (widths[to - 1] ?? 0) + Math.max(0, group.length - room)
  }
  const first = Math.max(table.corner.length, ...table.rows.map(({ label }) => label.length))
  const line = (label: string, cells: readonly string[]) =>
    [label.padEnd(first), ...cells.map((cell, i) => cell.padStart(widths[i] ?? 0))].join('  ').trimEnd()
  const groups = runs.map(({ group, from, to }) => {
    const room = widths.slice(from, to).reduce((sum, width) => sum + width, 2 * (to - from - 1))
    return group.padEnd(room)
  })
  return [
    table.title,
    ...(runs.some(({ group }) => group !== '') ? [[' '.repeat(first), ...groups].join('  ').trimEnd()] : []),
    line(
      table.corner,
      table.columns.map(({ label }) => label),
    ),
    ['-'.repeat(first), ...widths.map((width) => '-'.repeat(width))].join('  '),
    ...table.rows.map(({ label }, i) => line(label, rows[i] ?? [])),
  ].join('\n')
}

/** A line for each cell that has more than one seed: mean, deviation and every seed. */
export function perSeed(table: Table): string {
  const lines = figuresOf(table)
    .filter(({ figure }) => figure.values.length > 1)
    .map(({ row, column, figure, digits }) => {
      const values = figure.values.map(({ seed, value }) => `seed ${seed}: ${value.toFixed(digits)}`)
      return `${row}, ${column}: ${figure.mean.toFixed(digits)} ± ${figure.std.toFixed(digits)} (${values.join(', ')})`
    })
  return lines.join('\n')
}

/** As a document: the table, and below it the seeds. */
export function markdown(tables: readonly Table[]): string {
  return tables
    .map((table) => {
      const head = [table.corner, ...table.columns.map(nameOf)]
      const rows = cellsOf(table).map((cells, i) => [table.rows[i]?.label ?? '', ...cells])
      const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
      const rule = `|${['---', ...table.columns.map(() => '---:')].join('|')}|`
      const seeds = perSeed(table)
      return [
        `## ${table.title}`,
        '',
        line(head),
        rule,
        ...rows.map(line),
        ...(seeds === ''
          ? []
          : [
              '',
              'Mean ± population standard deviation over the seeds:',
              '',
              ...seeds.split('\n').map((one) => `- ${one}`),
            ]),
        '',
      ].join('\n')
    })
    .join('\n')
}

/** One line for each number: table, row, column, which (mean, std, mean_of_h or a seed), value. */
export function csv(tables: readonly Table[]): string {
  const lines = [['table', 'row', 'column', 'which', 'value']]
  for (const table of tables) {
    for (const { row, column, figure } of figuresOf(table)) {
      const add = (which: string, value: number) => lines.push([table.title, row, column, which, String(value)])
      add('mean', figure.mean)
      add('std', figure.std)
      if (figure.mean_of_h !== undefined) add('mean_of_h', figure.mean_of_h)
      for (const { seed, value } of figure.values) if (seed !== null) add(`seed ${seed}`, value)
    }
  }
  return lines.map((line) => `${line.map(field).join(',')}\n`).join('')
}

/** What --json prints of a table: figures by row and column. */
export function json({ title, columns, rows }: Table) {
  return {
    title,
    columns: columns.map(nameOf),
    rows: rows.map(({ label, figures }) => ({
      label,
      cells: Object.fromEntries(columns.map((column, i) => [nameOf(column), figures[i] ?? null])),
    })),
  }
}

function nameOf({ group, label }: Column): string {
  return group === undefined ? label : `${group} ${label}`
}

function cellsOf({ rows }: Table): string[][] {
  return rows.map(({ figures, digits }) => figures.map((figure, i) => figure?.mean.toFixed(digits[i]) ?? NONE))
}

function figuresOf({ columns, rows }: Table) {
  return rows.flatMap(({ label: row, figures, digits }) =>
    columns.flatMap((column, i) => {
      const figure = figures[i]
      return figure ? [{ row, column: nameOf(column), figure, digits: digits[i] ?? 2 }] : []
    }),
  )
}

/** Columns beside each other that share a group. */
function groupRuns(columns: readonly Column[]): { group: string; from: number; to: number }[] {
  const runs: { group: string; from: number; to: number }[] = []
  for (const [i, { group = '' }] of columns.entries()) {
    const last = runs.at(-1)
    if (last !== undefined && last.group === group) last.to = i + 1
    else runs.push({ group, from: i, to: i + 1 })
  }
  return runs
}

function field(text: string): string {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
