/** `cocoop-train sweep`: all combinations of options as runs; what is not done yet is done. */
import { readdir } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { z } from 'zod'
import { type Context, defineCommand } from '../command.ts'
import { ROOT } from '../datasets/root.ts'
import { TrainError } from '../errors.ts'
import { chooseExecutor, EXECUTOR } from '../executors/choose.ts'
import { harmonicMean } from '../metrics.ts'
import { axesOfFlags, expand, type Grid, type LeftOut, parseTest, readGrids } from '../sweep/grid.ts'
import { type Job, readAccuracy, readFailure, readJob, stateOf, type Task } from '../sweep/job.ts'
import { OPTIONS, Planner } from '../sweep/plan.ts'
import { reportFailures, runSweep, tasksOf } from '../sweep/sweep.ts'
import { table } from '../table.ts'

/** An axis for each option of a run. */
const AXES = Object.fromEntries(
  OPTIONS.map(({ key, value, kind, description }) => [
    key,
    z
      .array(z.string())
      .default([])
      .meta({ description, value: kind === 'boolean' ? 'true,false' : `${value}[,...]` }),
  ]),
)

const FLAGS = z.object({
  action: z
    .enum(['run', 'status'])
    .default('run')
    .meta({ description: 'What to do', value: 'run|status', positional: true }),
  folder: z
    .string()
    .optional()
    .meta({ description: "The sweep's folder (status; default --out)", value: 'FOLDER', positional: true }),
  grid: z
    .string()
    .optional()
    .meta({ description: 'Lists of values from a JSON or YAML file; flags go before it', value: 'FILE', short: 'g' }),
  test: z
    .array(z.string())
    .default([])
    .meta({ description: 'Test every run on this set, too: NAME, NAME:base or NAME:new', value: 'DATA' }),
  out: z.string().default('sweeps/sweep').meta({ description: 'Folder of the runs', value: 'DIR', short: 'o' }),
  dry_run: z.boolean().default(false).meta({ description: 'List the jobs and what is done of them; run nothing' }),
  fail_fast: z.boolean().default(false).meta({ description: 'Stop all at the first job that fails' }),
  ...ROOT,
  ...EXECUTOR,
})

export const sweep = defineCommand({
  name: 'sweep',
  summary: 'Run all combinations of options: what is not done yet, on all cores or many machines',
  details: `Every option of \`train\` takes a list here. A job is a run with its tests, in a folder of its own that tells whether it is done;
the same command goes on after Ctrl-C, a crash or kill -9. \`sweep status FOLDER\` says how far it is.`,
  flags: FLAGS.extend(AXES),
  examples: [
    'cocoop-train sweep --data emoji-kinds --method coop,cocoop --shots 1,2,4 --seed 1,2,3 --out sweeps/few',
    'cocoop-train sweep --grid grid.yaml --dry-run',
    'cocoop-train sweep status sweeps/few',
    'cocoop-train sweep --grid grid.yaml --executor slurm --slurm-args --partition=cpu --slurm-args --cpus-per-task=8',
    'cocoop-train sweep --grid grid.yaml --executor bullmq --redis redis://head:6379',
  ],
  run: async (flags, context) => {
    const options = flags as unknown as z.output<typeof FLAGS>
    if (options.action === 'status') return await status(options.folder ?? options.out, context)
    if (options.folder !== undefined)
      throw new TrainError('usage', `sweep run: unexpected ${options.folder}`, 'The folder of a sweep is --out DIR.')
    const { jobs, left_out } = await planned(options, flags, context)
    for (const { options, why } of left_out) context.terminal.log(`left out: ${JSON.stringify(options)}: ${why}`)
    if (options.dry_run) return await list(tasksOf(options.out, jobs), left_out, context)
    const executor = (left: readonly Job[]) => chooseExecutor(options, options.out, left)
    const swept = await runSweep({ folder: options.out, jobs, executor, fail_fast: options.fail_fast }, context)
    const rows = await rowsOf(tasksOf(options.out, jobs))
    context.print(tableOf(rows))
    reportFailures(swept, context)
    return { ...swept, left_out, jobs: rows }
  },
})

/** The grids of the file, their axes replaced by those of the flags. */
async function planned(
  options: z.output<typeof FLAGS>,
  flags: Record<string, unknown>,
  { terminal }: Context,
): Promise<{ jobs: Job[]; left_out: LeftOut[] }> {
  const grids: Grid[] = options.grid === undefined ? [{ axes: {}, exclude: [] }] : await readGrids(options.grid)
  const axes = axesOfFlags(flags)
  const tests = options.test.map(parseTest)
  const merged = grids.map((grid) => ({
    ...grid,
    axes: { ...grid.axes, ...axes },
    tests: [...(grid.tests ?? []), ...tests],
  }))
  return await expand(merged, await Planner.create({ root: options.root, terminal }))
}

async function list(tasks: readonly Task[], left_out: readonly LeftOut[], { print }: Context) {
  const jobs = tasks.map(({ name, options, tests, folder }) => ({
    name,
    state: stateOf({ folder, tests }),
    options,
    tests: tests.map(({ dataset, classes }) => ({ data: dataset, classes })),
  }))
  const rows = jobs.map(({ name, state, tests }) => [
    name,
    state,
    tests.map(({ data, classes }) => `${data}:${classes}`).join(' '),
  ])
  print(table(['job', 'state', 'tests'], rows))
  print(`${jobs.length} jobs`)
  return { jobs, left_out }
}

/** What the folders of a sweep say now, whoever works in them. */
async function status(folder: string, context: Context) {
  const tasks = await tasksIn(folder)
  if (tasks.length === 0) throw new TrainError('not_found', `${folder} holds no sweep`)
  const jobs = await rowsOf(tasks)
  context.print(tableOf(jobs))
  const counts = Object.fromEntries(
    [...Map.groupBy(jobs, ({ state }) => state)].map(([state, of]) => [state, of.length]),
  )
  context.print(
    `${jobs.length} jobs: ${Object.entries(counts)
      .map(([state, n]) => `${n} ${state}`)
      .join(', ')}`,
  )
  for (const { name, failure } of jobs)
    if (failure !== undefined) context.print(`${name}: ${failure.message} (${failure.code})`)
  return { folder, counts, jobs }
}

async function tasksIn(folder: string): Promise<Task[]> {
  const files = await readdir(folder, { recursive: true }).catch(() => [])
  const folders = files.filter((file) => file.endsWith('/job.json')).sort()
  return await Promise.all(
    folders.map((file) => {
      const path = join(folder, file.slice(0, -'/job.json'.length))
      return readJob(path, relative(folder, path))
    }),
  )
}

interface Row {
  name: string
  state: ReturnType<typeof stateOf>
  /** Accuracy, percent, by DATA:CLASSES. */
  accuracy: Record<string, number>
  h: number | null
  failure?: Awaited<ReturnType<typeof readFailure>>
}

async function rowsOf(tasks: readonly Task[]): Promise<Row[]> {
  return await Promise.all(
    tasks.map(async (task): Promise<Row> => {
      const { name, folder, tests } = task
      const state = stateOf(task)
      const accuracy: Record<string, number> = {}
      for (const test of tests) {
        const figure = await readAccuracy(folder, test)
        if (figure !== undefined) accuracy[`${test.dataset}:${test.classes}`] = figure
      }
      const own = (classes: string) => accuracy[`${tests[0]?.dataset}:${classes}`]
      const [base, fresh] = [own('base'), own('new')]
      const h = base === undefined || fresh === undefined ? null : harmonicMean(base, fresh)
      const failure = state === 'failed' ? await readFailure(folder) : undefined
      return { name, state, accuracy, h, ...(failure === undefined ? {} : { failure }) }
    }),
  )
}

function tableOf(rows: readonly Row[]): string {
  return table(
    ['job', 'state', 'accuracy, %'],
    rows.map(({ name, state, accuracy, h }) => {
      const figures = Object.entries(accuracy).map(([test, value]) => `${test} ${value.toFixed(2)}`)
      return [name, state, [...figures, ...(h === null ? [] : [`H ${h.toFixed(2)}`])].join('  ')]
    }),
  )
}
