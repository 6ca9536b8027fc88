/** Runs that differ in their seed alone are one group: which options tell the groups apart, and their figures over the seeds. */
import { harmonicMean } from '../metrics.ts'
import type { TrainOptions } from '../runs/options.ts'
import { harmonicInterval, type Interval, meanOf, wilson } from './intervals.ts'
import type { Run } from './read-run.ts'
import { METHODS } from './words.ts'

/** Options that say nothing of what was tried. */
const SILENT = new Set([
  'seed',
  'name',
  'skip_bad',
  'allow_fewer',
  'data',
  'classes',
  'method',
  'log_style',
  'tensorboard',
  'any_backbone',
  'root',
])
/** Options that a method alone has a use for; zero-shot has one for no others. */
const OWN: Record<string, TrainOptions['method']> = { templates: 'zero-shot' }

/** One figure over seeds; the interval is a standard deviation to each side, or Wilson's where there is one seed. */
export interface Cell extends Interval {
  seeds: number
  deviation: number
}

export interface Group {
  /** Method and the options that differ between groups. */
  name: string
  runs: Run[]
}

/** Names of the options, other than seed and data, that differ among `runs`. */
export function differing(runs: readonly Run[]): string[] {
  const names = new Set(runs.flatMap(({ config }) => Object.keys(config.options)))
  return [...names].filter((name) => {
    if (SILENT.has(name)) return false
    const values = runs.filter((run) => isUsed(run, name)).map((run) => optionText(run, name))
    return new Set(values).size > 1
  })
}

/** The groups in the order of their first runs. `ignored` options do not tell groups apart. */
export function groupsOf(runs: readonly Run[], ignored: readonly string[] = []): Group[] {
  // What differs only because methods have other defaults is the method.
  const within = [...new Set(runs.map(({ method }) => method))].flatMap((method) =>
    differing(runs.filter((run) => run.method === method)),
  )
  let names = [...new Set(within)]
  // An option that follows from those before it, such as epochs from shots, tells nothing more.
  const all = grouped(runs, names).length
  for (const name of names.toReversed()) {
    if (name === 'shots') continue
    const fewer = names.filter((other) => other !== name)
    if (grouped(runs, fewer).length === all) names = fewer
  }
  return grouped(
    runs,
    names.filter((name) => !ignored.includes(name)),
  )
}

function grouped(runs: readonly Run[], names: readonly string[]): Group[] {
  const groups = new Map<string, Group>()
  for (const run of runs) {
    const told = names.filter((name) => isUsed(run, name)).map((name) => phrase(name, optionText(run, name)))
    const name = [METHODS[run.method] ?? run.method, ...told].join(', ')
    const group = groups.get(name) ?? { name, runs: [] }
    group.runs.push(run)
    groups.set(name, group)
  }
  return [...groups.values()]
}

/** The value of an option, as it is shown. */
export function optionText({ config }: Run, name: string): string {
  const value: unknown = config.options[name as keyof TrainOptions]
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
}

/** Training images per class: 0 where nothing is trained, infinity for all. */
export function shotsOf({ method, config }: Run): number {
  return method === 'zero-shot' ? 0 : config.options.shots || Number.POSITIVE_INFINITY
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

/** H of mean base and mean new accuracy, as the papers take it; over several seeds without an interval. */
export function harmonicOf(base: Cell | undefined, fresh: Cell | undefined): Cell | undefined {
  if (base === undefined || fresh === undefined) return undefined
  const seeds = Math.min(base.seeds, fresh.seeds)
  if (Math.max(base.seeds, fresh.seeds) === 1) return { ...harmonicInterval(base, fresh), seeds, deviation: 0 }
  const value = harmonicMean(base.value, fresh.value)
  return { value, low: value, high: value, seeds, deviation: 0 }
}

function isUsed({ method, config }: Run, name: string): boolean {
  const own = OWN[name]
  return (
    name in config.options && (own === method || (own === undefined && (method !== 'zero-shot' || name === 'model')))
  )
}

function phrase(name: string, value: string): string {
  if (name === 'shots') return value === '0' ? 'all images' : value === '1' ? '1 shot' : `${value} shots`
  return `${name.replaceAll('_', ' ')} ${value === '' ? 'none' : value}`
}
