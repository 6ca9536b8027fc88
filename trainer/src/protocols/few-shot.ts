/** Few-shot curves (CoOp, section 4.1) and the comparison with linear probes (CLIP, section 3.1.3; CoOp, Figure 3). */
import type { MethodName } from '../runs/options.ts'
import { accuracy, type Cell, derived, mean, NOTHING } from './cells.ts'
import { epochsFor, publishedTable, publishedZeroShot } from './papers.ts'
import { LABELS, type Study } from './study.ts'
import type { Table, TablePlan } from './tables.ts'

/** The cells of one method on one data set: one for zero-shot, one for each number of shots for the others. */
interface Curve {
  method: MethodName
  cells: Cell[]
}

/** A table for each data set, a line for each method; and one of the averages. */
export async function fewShot(
  study: Study,
  data: readonly string[],
  methods: readonly MethodName[],
  shots: readonly number[],
): Promise<TablePlan[]> {
  const sets: { label: string; curves: Curve[] }[] = []
  for (const one of data) sets.push(await curvesOf(study, one, methods, shots))
  if (sets.length > 1) {
    const curves = methods.map((method, i) => {
      const cells = sets[0]?.curves[i]?.cells.map((_, j) => mean(sets.flatMap((set) => set.curves[i]?.cells[j] ?? [])))
      return { method, cells: cells ?? [] }
    })
    sets.push({ label: `average of ${sets.length} data sets`, curves })
  }
  const columns = [0, ...shots].map((n) => ({ label: String(n), group: 'shots' }))
  return sets.map(({ label, curves }) => ({
    title: `Few-shot learning on ${label}, accuracy in percent`,
    corner: 'method',
    columns,
    rows: curves.map(({ method, cells }) => ({
      label: LABELS[method] ?? method,
      cells: method === 'zero-shot' ? [...cells, ...shots.map(() => NOTHING)] : [NOTHING, ...cells],
    })),
  }))
}

/**
 * A row for each data set: zero-shot, and for each method its curve and how many shots it needs to be as good as zero-shot,
 * log-linear between those that were measured (CLIP, Figure 7).
 */
export async function linearProbe(
  study: Study,
  data: readonly string[],
  methods: readonly MethodName[],
  shots: readonly number[],
): Promise<TablePlan[]> {
  const rows: { label: string; cells: Cell[] }[] = []
  const learned = methods.filter((method) => method !== 'zero-shot')
  const withMatch = (zero: Cell, curves: readonly Cell[][]) => [
    zero,
    ...curves.flatMap((cells) => [
      ...cells,
      derived([zero, ...cells], ([level = 0, ...values]) => shotsToReach(level, shots, values), 1),
    ]),
  ]
  const all: { zero: Cell; curves: Cell[][] }[] = []
  for (const one of data) {
    const { label, curves } = await curvesOf(study, one, ['zero-shot', ...learned], shots)
    const [zero = NOTHING, ...rest] = [curves[0]?.cells[0], ...curves.slice(1).map(({ cells }) => cells)] as [
      Cell,
      ...Cell[][],
    ]
    all.push({ zero, curves: rest })
    rows.push({ label, cells: withMatch(zero, rest) })
  }
  if (all.length > 1) {
    const curves = learned.map((_, i) => shots.map((_, j) => mean(all.flatMap(({ curves }) => curves[i]?.[j] ?? []))))
    rows.push({ label: 'average', cells: withMatch(mean(all.map(({ zero }) => zero)), curves) })
  }
  const columns = learned.flatMap((method) => {
    const group = LABELS[method] ?? method
    return [...shots.map((n) => ({ label: `${n}`, group })), { label: 'to match', group }]
  })
  return [
    {
      title:
        'Shots per class: zero-shot against what is learned; accuracy in percent, and the shots to match zero-shot',
      corner: 'data set',
      columns: [{ label: '0', group: 'zero-shot' }, ...columns],
      rows,
    },
  ]
}

/** Zero-shot CLIP as CoOp's paper gives it; its curves are published as drawings only. */
export function publishedZeroShotTable(names: readonly string[]): Table[] {
  const rows = names.map((label) => ({ label, values: [publishedZeroShot(label)] }))
  return publishedTable(
    { title: 'Published (CoOp, Figure 3: RN50 of OpenAI)', corner: 'data set', columns: [{ label: 'zero-shot' }] },
    rows,
  )
}

/** How many shots a curve needs to reach `level`; none if it does not. */
export function shotsToReach(level: number, shots: readonly number[], values: readonly number[]): number | undefined {
  const at = values.findIndex((value) => value >= level)
  const [right, above] = [shots[at], values[at]]
  if (right === undefined || above === undefined) return undefined
  const [left, below] = [shots[at - 1], values[at - 1]]
  if (left === undefined || below === undefined) return right
  return left * (right / left) ** ((level - below) / (above - below))
}

async function curvesOf(study: Study, data: string, methods: readonly MethodName[], shots: readonly number[]) {
  const label = await study.label(data)
  const curves: Curve[] = []
  for (const method of methods) {
    const cells: Cell[] = []
    for (const n of method === 'zero-shot' ? [0] : shots) {
      const jobs = await study.runs({ ...epochsFor(method, label), shots: n, data, method })
      cells.push(accuracy(jobs, label, 'all'))
    }
    curves.push({ method, cells })
  }
  return { label, curves }
}
