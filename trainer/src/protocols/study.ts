/**
 * What the papers' experiments share: runs over seeds with the papers' options, done as a sweep, and tables of them.
 * A protocol says which cells its tables have; the runs follow from the cells.
 */
import { join } from 'node:path'
import { z } from 'zod'
import type { Context } from '../command.ts'
import { ROOT } from '../datasets/root.ts'
import { TrainError } from '../errors.ts'
import { chooseExecutor, EXECUTOR } from '../executors/choose.ts'
import { toJson, writeDurably } from '../files.ts'
import { nearest } from '../flags.ts'
import { type Preset, preset } from '../presets/table.ts'
import { METHODS, type MethodName } from '../runs/options.ts'
import type { Classes } from '../select.ts'
import { inOrder } from '../sweep/grid.ts'
import { isDone, type Job, type Options, readAccuracy, stateOf } from '../sweep/job.ts'
import { Planner, parseOption, type WantedTest } from '../sweep/plan.ts'
import { reportFailures, runSweep, tasksOf } from '../sweep/sweep.ts'
import { table as plainTable } from '../table.ts'
import { isPaperSet } from './papers.ts'
import { csv, fill, json, markdown, perSeed, type Table, type TablePlan, text } from './tables.ts'

/** Options that a protocol decides itself. */
const OWN = ['data', 'method', 'classes', 'seed', 'shots', 'model', 'preset']

/** What tables call the methods. */
export const LABELS: Record<string, string> = {
  'zero-shot': 'zero-shot',
  'linear-probe': 'linear probe',
  coop: 'CoOp',
  cocoop: 'CoCoOp',
}

/** A flag that takes a list between commas. */
export function list(description: string, value: string, ...fallback: string[]) {
  return z
    .array(z.string())
    .default(fallback)
    .meta({ description, value: `${value}[,...]` })
}

/** The flags of every protocol. */
export const STUDY = {
  shots: z.number().int().min(0).default(16).meta({ description: 'Training images per class; 0 takes all' }),
  seed: list('Seeds', 'N', '1,2,3'),
  model: z
    .string()
    .optional()
    .meta({ description: 'CLIP model: a name in models/ or a folder', value: 'NAME|DIR', short: 'm' }),
  epochs: z
    .number()
    .int()
    .min(1)
    .optional()
    .meta({ description: "Passes over the data for coop and cocoop (default: the papers')" }),
  templates: z.array(z.string()).default([]).meta({
    description: 'Templates of zero-shot (default: the data set\'s published one, or "a photo of a {}.")',
    value: 'SET|FILE|TEXT',
  }),
  preset: z.array(z.string()).default([]).meta({
    description: 'A published configuration for the runs of its method; `cocoop-train presets` lists them',
    value: 'NAME',
  }),
  option: z.array(z.string()).default([]).meta({
    description: 'Any other option of the runs, of all methods or one: augment=none, coop.epochs=50',
    value: '[METHOD.]OPTION=VALUE',
  }),
  published: z
    .boolean()
    .default(false)
    .meta({ description: "Print the papers' own figures beside, where they have some" }),
  per_seed: z.boolean().default(false).meta({ description: 'Print each seed, too; the files hold them always' }),
  dry_run: z.boolean().default(false).meta({ description: 'List the runs and what is done of them; run nothing' }),
  fail_fast: z.boolean().default(false).meta({ description: 'Stop all at the first run that fails' }),
  ...ROOT,
  ...EXECUTOR,
}
export type StudyFlags = z.output<z.ZodObject<typeof STUDY>> & { out: string }

/** The folder of a protocol's runs and tables. */
export function outFlag(name: string) {
  return z
    .string()
    .default(`sweeps/${name}`)
    .meta({ description: 'Folder of the runs and tables', value: 'DIR', short: 'o' })
}

/** The words of a list flag. */
export function words(values: readonly string[]): string[] {
  return [
    ...new Set(values.flatMap((value) => value.split(',').map((word) => word.trim())).filter((word) => word !== '')),
  ]
}

/** @throws TrainError `usage` for a word that is no method */
export function methods(values: readonly string[]): MethodName[] {
  return words(values).map((word) => {
    const method = METHODS.find((known) => known === word)
    if (method !== undefined) return method
    const near = nearest(word, METHODS)
    throw new TrainError(
      'usage',
      `--method: there is no ${word}`,
      `${near ? `Did you mean ${near}? ` : ''}Methods: ${METHODS.join(', ')}.`,
    )
  })
}

/** Makes the runs of a protocol. */
export class Study {
  readonly flags: StudyFlags
  readonly planner: Planner
  readonly #seeds: number[]
  readonly #presets: Preset[]
  readonly #overrides: { method: string | undefined; key: string; value: unknown }[]

  private constructor(flags: StudyFlags, planner: Planner) {
    this.flags = flags
    this.planner = planner
    this.#seeds = words(flags.seed).map((seed) => parseOption('seed', seed, '--seed') as number)
    this.#presets = flags.preset.map((name) => ({ preset: name, ...preset(name) }))
    this.#overrides = flags.option.map(parseOverride)
  }

  static async create(flags: StudyFlags, { terminal }: Pick<Context, 'terminal'>): Promise<Study> {
    return new Study(flags, await Planner.create({ root: flags.root, terminal }))
  }

  /**
   * The runs of one method on one data set, a job for each seed (one for a method that draws nothing).
   * Of `paper`, a preset of the method, the flags and --option, what comes later goes before.
   */
  async runs(paper: Options & { data: string; method: MethodName }, tests: readonly WantedTest[] = []): Promise<Job[]> {
    const { shots, model, epochs, templates } = this.flags
    const { method, data } = paper
    const learned = method === 'coop' || method === 'cocoop'
    const zeroShot = method === 'zero-shot'
    // A number of tokens in `paper` is what a protocol is about; words alone are where it begins.
    const { n_ctx, ctx_init } = paper
    const options: Options = {
      shots,
      ...paper,
      ...this.#presets.find((one) => one.method === method),
      ...(n_ctx === undefined ? {} : { n_ctx, ctx_init }),
      ...(model === undefined || paper.model !== undefined ? {} : { model }),
      ...(learned && epochs !== undefined ? { epochs } : {}),
      ...(zeroShot ? { templates: templates.length > 0 ? templates : await this.#ownTemplates(data) } : {}),
      ...Object.fromEntries(
        this.#overrides
          .filter((one) => one.method === undefined || one.method === method)
          .map(({ key, value }) => [key, value]),
      ),
    }
    const jobs = new Map<string, Job>()
    for (const seed of this.#seeds) {
      const job = await this.planner.job({ ...options, seed }, tests)
      jobs.set(job.name, job)
    }
    return [...jobs.values()]
  }

  /** Column or row of a data set. */
  async label(data: string): Promise<string> {
    return await this.planner.dataset(data)
  }

  async labels(data: readonly string[]): Promise<string[]> {
    return await Promise.all(data.map((one) => this.label(one)))
  }

  async #ownTemplates(data: string): Promise<string[]> {
    const name = await this.planner.dataset(data)
    return isPaperSet(name) ? [`dataset:${name}`] : []
  }
}

/** Runs what the tables need and is not done yet, fills them, prints them and writes them into the folder. */
export async function runStudy(
  name: string,
  study: Study,
  plans: readonly TablePlan[],
  published: readonly Table[],
  context: Context,
) {
  const { flags } = study
  const jobs = jobsOf(plans)
  const tasks = tasksOf(flags.out, jobs)
  if (flags.dry_run) {
    context.print(
      plainTable(
        ['run', 'state'],
        tasks.map((task) => [task.name, stateOf(task)]),
      ),
    )
    context.print(`${jobs.length} runs, ${tasks.filter(isDone).length} done`)
    return {
      protocol: name,
      jobs: tasks.map((task) => ({ name: task.name, state: stateOf(task), options: task.options })),
    }
  }
  const executor = (left: readonly Job[]) => chooseExecutor(flags, flags.out, left)
  const swept = await runSweep({ folder: flags.out, jobs, executor, fail_fast: flags.fail_fast }, context)
  const found = new Map<string, number>()
  for (const { folder, name, tests } of tasks) {
    for (const test of tests) {
      const accuracy = await readAccuracy(folder, test)
      if (accuracy !== undefined) found.set(keyOf(name, test.dataset, test.classes), accuracy)
    }
  }
  const read = (job: Job, dataset: string, classes: Classes) => found.get(keyOf(job.name, dataset, classes))
  const tables = plans.map((plan) => fill(plan, read))
  const beside = flags.published ? published : []
  for (const [i, table] of tables.entries()) {
    context.print(`${i > 0 ? '\n' : ''}${text(table)}`)
    if (flags.per_seed && perSeed(table) !== '') context.print(`\n${perSeed(table)}`)
  }
  for (const table of beside) context.print(`\n${text(table)}`)
  if (flags.published && beside.length === 0) context.print('\nThe papers have no figures for these data sets.')
  const { failed, total, done, seconds } = swept
  const result = {
    protocol: name,
    folder: flags.out,
    tables: tables.map(json),
    ...(beside.length > 0 ? { published: beside.map(json) } : {}),
    jobs: { total, done, found: swept.found, failed },
    seconds,
  }
  await writeDurably(join(flags.out, 'tables.md'), markdown([...tables, ...beside]))
  await writeDurably(join(flags.out, 'tables.csv'), csv([...tables, ...beside]))
  await writeDurably(join(flags.out, 'tables.json'), toJson(result))
  context.terminal.log(`tables in ${join(flags.out, 'tables.md')}, .csv and .json`)
  reportFailures(swept, context)
  return result
}

/** The runs of all cells, each once with all of its tests. */
function jobsOf(plans: readonly TablePlan[]): Job[] {
  const jobs = new Map<string, Job>()
  for (const job of plans.flatMap(({ rows }) => rows.flatMap(({ cells }) => cells.flatMap((cell) => cell.jobs)))) {
    const twin = jobs.get(job.name)
    const more = job.tests.filter(
      (test) =>
        !twin?.tests.some((other) => keyOf('', other.dataset, other.classes) === keyOf('', test.dataset, test.classes)),
    )
    jobs.set(job.name, twin === undefined ? job : { ...twin, tests: [...twin.tests, ...more] })
  }
  return inOrder([...jobs.values()])
}

function keyOf(name: string, dataset: string, classes: Classes): string {
  return JSON.stringify([name, dataset, classes])
}

/** `OPTION=VALUE`, or `METHOD.OPTION=VALUE`. */
function parseOverride(word: string) {
  const [, method, name, value] = /^(?:([a-z-]+)\.)?([a-z_-]+)=(.*)$/s.exec(word) ?? []
  if (name === undefined || value === undefined)
    throw new TrainError('usage', `--option: expected OPTION=VALUE or METHOD.OPTION=VALUE, got "${word}"`)
  if (method !== undefined) methods([method])
  const key = name.replaceAll('-', '_')
  if (OWN.includes(key))
    throw new TrainError('usage', `--option: ${key} is decided by the protocol`, 'It may have a flag of its own.')
  return { method, key, value: parseOption(key, value, '--option') }
}
