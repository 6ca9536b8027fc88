/**
 * A grid: lists of values for the options of a run, and all their combinations as jobs.
 * Combinations that the options exclude are left out and named; a grid of nothing else is refused.
 */
import { readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { parse as parseYaml } from 'yaml'
import { z } from 'zod'
import { codeOf, TrainError } from '../errors.ts'
import type { Classes } from '../select.ts'
import type { Job, Options } from './job.ts'
import { OPTIONS, type Planner, parseOption, type WantedTest } from './plan.ts'

/** Values of the options, each key an axis. */
export interface Grid {
  axes: Record<string, readonly unknown[]>
  /** Combinations that hold all values of one of these are left out. */
  exclude: readonly Record<string, readonly unknown[]>[]
  /** What every run is tested on beside what it tests by itself. */
  tests?: readonly WantedTest[] | undefined
}

/** A combination that makes no run. */
export interface LeftOut {
  options: Options
  why: string
}

const CLASSES = ['all', 'base', 'new'] as const
/** Options whose text may hold commas. */
const TEXTS = ['ctx_init', 'templates']

/** All jobs of the grids, each once, those that share features beside each other and the cheapest of them first. */
export async function expand(grids: readonly Grid[], planner: Planner): Promise<{ jobs: Job[]; left_out: LeftOut[] }> {
  const jobs = new Map<string, Job>()
  const left_out: LeftOut[] = []
  for (const { axes, exclude, tests } of grids) {
    if ((axes.data ?? []).length === 0) throw new TrainError('usage', '--data is missing', 'A grid needs a data set.')
    for (const options of combinations(axes)) {
      if (exclude.some((rule) => holds(rule, options))) continue
      try {
        const job = await planner.job(options, tests)
        const twin = jobs.get(job.name)
        if (twin === undefined) jobs.set(job.name, job)
        else twin.tests.push(...job.tests.filter((test) => !twin.tests.some((other) => same(other, test))))
      } catch (cause) {
        if (codeOf(cause) !== 'usage' || !(cause instanceof Error)) throw cause
        left_out.push({ options, why: cause.message })
      }
    }
  }
  if (jobs.size > 0) return { jobs: inOrder([...jobs.values()]), left_out }
  const why = left_out[0]?.why
  throw new TrainError('usage', why ?? 'the grid is empty', why && 'All combinations of the grid exclude themselves.')
}

/**
 * The grids of a JSON or YAML file: an object, or a list of them. Keys are options, values one or a list; beside them `exclude` and `tests`.
 * @throws TrainError `usage` naming what does not fit
 */
export async function readGrids(file: string): Promise<Grid[]> {
  const text = await readFile(file, 'utf8')
  let value: unknown
  try {
    value = extname(file) === '.json' ? JSON.parse(text) : parseYaml(text)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split('\n')[0] : String(cause)
    throw new TrainError('usage', `${file} cannot be read: ${why}`, 'A grid is JSON or YAML.')
  }
  return (Array.isArray(value) ? value : [value]).map((grid) => parseGrid(grid, file))
}

/** The axes that flags name: values between commas, or one with each flag where they are texts. */
export function axesOfFlags(flags: Record<string, unknown>): Grid['axes'] {
  const given = OPTIONS.filter(({ key }) => Array.isArray(flags[key]) && (flags[key] as string[]).length > 0)
  return Object.fromEntries(
    given.map(({ key, flag }) => {
      const words = flags[key] as string[]
      const values = TEXTS.includes(key) ? words : words.flatMap((word) => word.split(',').map((part) => part.trim()))
      return [key, values.map((value) => parseOption(key, value, `--${flag}`))]
    }),
  )
}

/** `DATA`, or `DATA:base`. */
export function parseTest(text: string): WantedTest {
  const [, data, classes] = /^(.*?)(?::(all|base|new))?$/.exec(text) ?? []
  return { data: data === '' ? undefined : data, classes: (classes ?? 'all') as Classes }
}

function parseGrid(value: unknown, file: string): Grid {
  const object = z.record(z.string(), z.unknown()).safeParse(value)
  if (!object.success) throw new TrainError('usage', `${file}: expected options and lists of values`)
  const { exclude = [], tests, ...axes } = object.data
  const rules = z.array(z.record(z.string(), z.unknown())).safeParse(exclude)
  if (!rules.success) throw new TrainError('usage', `${file}: exclude: expected a list of combinations`)
  return {
    axes: parseAxes(axes, file),
    exclude: rules.data.map((rule) => parseAxes(rule, file)),
    tests: parseTests(tests, file),
  }
}

function parseAxes(axes: Record<string, unknown>, file: string): Grid['axes'] {
  return Object.fromEntries(
    Object.entries(axes).map(([name, value]) => {
      const key = name.replaceAll('-', '_')
      return [key, (Array.isArray(value) ? value : [value]).map((one) => parseOption(key, one, file))]
    }),
  )
}

function parseTests(value: unknown, file: string): WantedTest[] | undefined {
  if (value === undefined) return undefined
  const one = z.union([z.string(), z.object({ data: z.string().optional(), classes: z.enum(CLASSES).default('all') })])
  const parsed = z.array(one).safeParse(value)
  if (!parsed.success)
    throw new TrainError('usage', `${file}: tests: expected a list of DATA, DATA:CLASSES or {data, classes}`)
  return parsed.data.map((test) => (typeof test === 'string' ? parseTest(test) : test))
}

/** The last axis turns fastest. */
function combinations(axes: Grid['axes']): Options[] {
  let all: Record<string, unknown>[] = [{}]
  for (const { key } of OPTIONS) {
    const values = axes[key]
    if (values !== undefined) all = all.flatMap((one) => values.map((value) => ({ ...one, [key]: value })))
  }
  return all as Options[]
}

function holds(rule: Record<string, readonly unknown[]>, options: Options): boolean {
  return Object.entries(rule).every(([key, values]) =>
    values.some((value) => JSON.stringify(value) === JSON.stringify(options[key as keyof Options])),
  )
}

function same(a: Job['tests'][number], b: Job['tests'][number]): boolean {
  return a.dataset === b.dataset && a.classes === b.classes
}

/** Runs of one model and data set stand together; zero-shot, which leaves the features of the tests to the others, goes before them. */
export function inOrder(jobs: Job[]): Job[] {
  const cost = ['zero-shot', 'linear-probe', 'coop', 'cocoop']
  const groups = Map.groupBy(jobs, ({ options }) => JSON.stringify([options.model, options.data]))
  return [...groups.values()].flatMap((group) =>
    group.sort((a, b) => cost.indexOf(a.options.method ?? '') - cost.indexOf(b.options.method ?? '')),
  )
}
