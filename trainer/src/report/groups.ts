/** Runs that differ in their seed alone are one group: which options tell the groups apart, and their figures over the seeds. */
import { harmonicMean } from '../metrics.ts'
import { type Interval, meanOf, wilson } from './intervals.ts'
import type { Run } from './read-run.ts'
import { METHODS } from './words.ts'

/** Options that say nothing of what was tried. */
const SILENT = new Set([
  'seed',
  'name',
  'out',
  'resume',
  'skip_bad',
  'allow_fewer',
  'cache',
  'data',
  'classes',
  'method',
])
/** What a method has no use for. */
const UNUSED: Record<string, ReadonlySet<string>> = { 'zero-shot': new Set(['shots']) }

/** One figure over seeds; the interval is a standard deviation to each side, or Wilson's where there is one seed. */
export interface Cell extends Interval {
  seeds: number
  deviation: number
}

export interface Group {
  /** Method and the options that differ between groups. */
  name: string
  method: string
  /** 0 for what needs none; all images are infinitely many. */
  shots: number
  runs: Run[]
}

/** Names of the options, other than seed and data, that differ among `runs`. */
export function differing(runs: readonly Run[]): string[] {
  const names = new Set(runs.flatMap(({ config }) => Object.keys(config.options)))
  return [...names].filter((name) => {
    if (SILENT.has(name)) return false
    const values = runs.filter((run) => isUsed(run, name)).map((run) => text(run, name))
    return new Set(values).size > 1
  })
}

/** The groups in the order of their first runs. `ignored` options do not tell groups apart. */
export function groupsOf(runs: readonly Run[], ignored: readonly string[] = []): Group[] {
  // What differs only because methods have other defaults is the method.
  const within = [...new Set(runs.map(({ method }) => method))].flatMap((method) =>
    differing(runs.filter((run) => run.method === method)),
  )
  const names = [...new Set(within)].filter((name) => !ignored.includes(name))
  const groups = new Map<string, Group>()
  for (const run of runs) {
    const told = names.filter((name) => isUsed(run, name)).map((name) => phrase(name, text(run, name)))
    const name = [METHODS[run.method] ?? run.method, ...told].join(', ')
    const group = groups.get(name) ?? { name, method: run.method, shots: shotsOf(run), runs: [] }
    group.runs.push(run)
    groups.set(name, group)
  }
  return [...groups.values()]
}

/** Training images per class: 0 where nothing is trained, infinity for all. */
export function shotsOf({ method, config }: Run): number {
  return method === 'zero-shot' ? 0 : Number(config.options.shots ?? 0) || Number.POSITIVE_INFINITY
}

/** The accuracy of runs that were trained on `data`, on the classes of one data set's test. */
export function cell(runs: readonly Run[], data: string, tested: string, classes: string): Cell | undefined {
  const found = runs
    .filter(({ config }) => config.data.name === data)
    .flatMap(({ tests }) => tests.filter((test) => test.data === tested && test.classes === classes))
  return over(found.map(({ correct, total }) => wilson(correct, total)))
}

/** Figures of several seeds as one. */
function over(values: readonly Interval[]): Cell | undefined {
  const [first] = values
  if (first === undefined) return undefined
  if (values.length === 1) return { ...first, seeds: 1, deviation: 0 }
  const { mean, deviation } = meanOf(values.map(({ value }) => value))
  const [low, high] = [Math.max(0, mean - deviation), Math.min(100, mean + deviation)]
  return { value: mean, low, high, seeds: values.length, deviation }
}

/** The mean of cells, such as over data sets: what each of them strays by is not what the mean does, so it has no interval. */
export function average(cells: readonly (Cell | undefined)[]): Cell | undefined {
  const there = cells.filter((cell) => cell !== undefined)
  if (there.length === 0 || there.length < cells.length) return undefined
  const value = meanOf(there.map(({ value }) => value)).mean
  return { value, low: value, high: value, seeds: Math.min(...there.map(({ seeds }) => seeds)), deviation: 0 }
}

/** H of mean base and mean new accuracy, as the papers take it. */
export function harmonicOf(base: Cell | undefined, fresh: Cell | undefined): Cell | undefined {
  if (base === undefined || fresh === undefined) return undefined
  const value = harmonicMean(base.value, fresh.value)
  return { value, low: value, high: value, seeds: Math.min(base.seeds, fresh.seeds), deviation: 0 }
}

function isUsed({ method, config }: Run, name: string): boolean {
  return name in config.options && !UNUSED[method]?.has(name)
}

function text({ config }: Run, name: string): string {
  const value = config.options[name]
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function phrase(name: string, value: string): string {
  if (name === 'shots') return value === '0' ? 'all images' : `${value} shots`
  return `${name.replaceAll('_', ' ')} ${value === '' ? 'none' : value}`
}
