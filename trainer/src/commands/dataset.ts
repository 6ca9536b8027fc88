/** `dataset list | show | import`: which sets there are, what is in one, and how one's own images become one. */
import { join } from 'node:path'
import { createEngine, type EngineModel } from 'cocoop/node'
import { z } from 'zod'
import { type Context, defineCommand } from '../command.ts'
import { fingerprint } from '../datasets/fingerprint.ts'
import { importDataset, SET_NAME } from '../datasets/import.ts'
import { DATA_SETS, namedDatasets, openDataset, openPath } from '../datasets/open.ts'
import { survey } from '../datasets/survey.ts'
import { TrainError } from '../errors.ts'
import { DEFAULT_MODEL, readModel } from '../models.ts'
import { formatDuration } from '../progress.ts'
import { table } from '../table.ts'

const FLAGS = z.object({
  action: z
    .enum(['list', 'show', 'import'])
    .meta({ description: 'What to do', value: 'list|show|import', positional: true }),
  target: z.string().optional().meta({
    description: 'show: a name or path; import: a folder, .csv or split_zhou_*.json',
    value: 'NAME|PATH',
    positional: true,
  }),
  name: z
    .string()
    .regex(SET_NAME, 'expected letters, digits, ".", "_" and "-", at most 64')
    .optional()
    .meta({ description: 'import: what the set is called', value: 'NAME' }),
  data_sets: z.string().default(DATA_SETS).meta({ description: 'Folder of the imported sets', value: 'DIR' }),
  out: z
    .string()
    .optional()
    .meta({ description: 'import: write the set to this folder instead of DATA_SETS/NAME', value: 'DIR', short: 'o' }),
  seed: z.number().int().min(0).default(1).meta({ description: 'Cuts a set that comes without train, val and test' }),
  link: z.boolean().default(false).meta({ description: 'import: link to the images instead of copying them' }),
  force: z.boolean().default(false).meta({ description: 'import: replace a set of this name' }),
  skip_bad: z.boolean().default(false).meta({ description: 'import: leave out images that cannot be read' }),
})
type Options = z.output<typeof FLAGS>

export const dataset = defineCommand({
  name: 'dataset',
  summary: 'List data sets, look into one, import your own images',
  details:
    'Reads a folder of class folders (with train/, val/, test/ above them, or cut 50/20/30 per class by --seed),\na CSV file with the columns path,label[,split], and the split_zhou_*.json layout of the CoOp data sets.',
  flags: FLAGS,
  examples: [
    'cocoop-train dataset list',
    'cocoop-train dataset show emoji-kinds',
    'cocoop-train dataset import ./photos --name my-photos',
    'cocoop-train dataset import labels.csv --name my-photos --link',
  ],
  run: (options, context) => {
    if (options.action === 'list') return list(options, context)
    if (options.target === undefined)
      throw new TrainError(
        'usage',
        `dataset ${options.action}: ${options.action === 'show' ? 'NAME|PATH' : 'a folder, .csv or split_zhou_*.json'} is missing`,
      )
    return options.action === 'show'
      ? show(options.target, options, context)
      : importInto(options.target, options, context)
  },
})

async function list(options: Options, { print }: Context): Promise<unknown> {
  const sets = await Promise.all(
    (await namedDatasets(options)).map(async ({ name, source, open }) => {
      try {
        const { classnames, train, val, test, layout, root } = await open()
        return {
          name,
          source,
          layout,
          n_cls: classnames.length,
          train: train.length,
          val: val.length,
          test: test.length,
          root,
        }
      } catch (error) {
        if (!(error instanceof TrainError)) throw error
        return { name, source, error: { code: error.code, message: error.message } }
      }
    }),
  )
  const row = (set: (typeof sets)[number]) =>
    'error' in set
      ? [set.name, set.source, '-', '-', '-', '-']
      : [set.name, set.source, ...[set.n_cls, set.train, set.val, set.test].map(String)]
  print(table(['name', 'source', 'classes', 'train', 'val', 'test'], sets.map(row)))
  for (const set of sets) if ('error' in set) print(`\n${set.name} cannot be read: ${set.error?.message}`)
  return { data_sets: sets }
}

async function show(target: string, options: Options, { print, terminal, signal }: Context): Promise<unknown> {
  const set = await openDataset(target, options)
  using model = await imageReader()
  const { name, root, layout } = set
  const found = await survey(set, model, { signal, onProgress: (done) => terminal.status(`${done} images read`) })
  const unreadable = found.problems.some(({ kind }) => kind === 'unreadable')
  const hash = unreadable ? null : await fingerprint(set)
  print(
    `${name}: ${found.n_cls} classes, ${found.counts.train} train, ${found.counts.val} val, ${found.counts.test} test (${layout}, ${root})`,
  )
  print(`fingerprint ${hash ?? 'none: some images cannot be read'}\n`)
  print(
    table(
      ['class', 'train', 'val', 'test'],
      found.classes.map(({ classname, train, val, test }) => [classname, ...[train, val, test].map(String)]),
    ),
  )
  print(
    `\nsmallest class: "${found.smallest.classname}" with ${found.smallest.train} train, ${found.smallest.val} val, ${found.smallest.test} test`,
  )
  print(
    `image sizes: ${found.sizes
      .slice(0, 5)
      .map(({ width, height, count }) => `${width}x${height} (${count})`)
      .join(', ')}${found.sizes.length > 5 ? ', ...' : ''}`,
  )
  print(found.problems.length === 0 ? 'problems: none found' : 'problems:')
  for (const { message, count, examples } of found.problems) {
    print(`  ${message}: ${count} (${examples.join('; ')}${count > examples.length ? '; ...' : ''})`)
  }
  return { name, root, layout, fingerprint: hash, ...found }
}

async function importInto(target: string, options: Options, { print, terminal, signal }: Context): Promise<unknown> {
  const { name, link, force, skip_bad } = options
  if (name === undefined)
    throw new TrainError('usage', 'dataset import: --name is missing', 'It is what --data takes afterwards.')
  const taken = (await namedDatasets(options)).some((set) => set.name === name && set.source === 'embedded')
  if (taken) throw new TrainError('usage', `--name: ${name} is the name of an embedded set`, 'Choose another one.')
  const to = options.out ?? join(options.data_sets, name)
  const started = performance.now()
  const set = await openPath(target, options.seed)
  using model = await imageReader()
  const imported = await importDataset(set, to, name, model, {
    link,
    force,
    signal,
    skipBad: skip_bad,
    onSkip: ({ message }) => terminal.warn(`left out: ${message}`),
    onProgress: (done) => terminal.status(`${done} images imported`),
  })
  const seconds = (performance.now() - started) / 1000
  print(
    `${name}: ${imported.n_cls} classes, ${imported.train} train, ${imported.val} val, ${imported.test} test, in ${to} (${formatDuration(seconds)})`,
  )
  if (imported.skipped > 0) print(`left out: ${imported.skipped} images that cannot be read`)
  return { name, path: to, ...imported, fingerprint: await fingerprint(await openPath(to)), seconds }
}

/** The engine decodes images through a model; which one makes no difference here. */
async function imageReader(): Promise<EngineModel> {
  return (await createEngine()).loadModel(await readModel(DEFAULT_MODEL))
}
