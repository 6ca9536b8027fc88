/** `dataset list | show | check | import | split`: which sets there are, what is in one, and how one's own images become one. */
import { join } from 'node:path'
import { createEngine, type EngineModel } from 'cocoop/node'
import { z } from 'zod'
import { type Context, defineCommand } from '../command.ts'
import { fingerprint } from '../datasets/fingerprint.ts'
import { importDataset, SET_NAME } from '../datasets/import.ts'
import { DATA_SETS, namedDatasets, openDataset, openPath } from '../datasets/open.ts'
import { describe } from '../datasets/problems.ts'
import { ROOT } from '../datasets/root.ts'
import { survey } from '../datasets/survey.ts'
import { TrainError } from '../errors.ts'
import { DEFAULT_MODEL, readModel } from '../models.ts'
import { formatDuration } from '../progress.ts'
import { table } from '../table.ts'
import { check } from './dataset-check.ts'
import { list } from './dataset-list.ts'
import { split } from './dataset-split.ts'

const FLAGS = z.object({
  action: z
    .enum(['list', 'show', 'check', 'import', 'split'])
    .meta({ description: 'What to do', value: 'list|show|check|import|split', positional: true }),
  target: z.string().optional().meta({
    description: 'show, split: a name or path; check: a set of the papers (default all); import: a path',
    value: 'NAME|PATH',
    positional: true,
  }),
  ...ROOT,
  name: z
    .string()
    .regex(SET_NAME, 'expected letters, digits, ".", "_" and "-", at most 64')
    .optional()
    .meta({ description: 'import: what the set is called', value: 'NAME' }),
  data_sets: z.string().default(DATA_SETS).meta({ description: 'Folder of the imported sets', value: 'DIR' }),
  out: z.string().optional().meta({
    description: 'import: the folder of the set (default DATA_SETS/NAME); split: the file',
    value: 'DIR|FILE',
    short: 'o',
  }),
  seed: z.number().int().min(0).default(1).meta({
    description: 'Cuts a set that comes without train, val and test; split: draws the shots',
  }),
  shots: z
    .number()
    .int()
    .min(1)
    .optional()
    .meta({ description: 'split: list the images of a training with so many per class too' }),
  link: z.boolean().default(false).meta({ description: 'import: link to the images instead of copying them' }),
  force: z.boolean().default(false).meta({ description: 'import, split: replace what is there' }),
  skip_bad: z.boolean().default(false).meta({ description: 'import: leave out images that cannot be read' }),
})
export type DatasetOptions = z.output<typeof FLAGS>

export const dataset = defineCommand({
  name: 'dataset',
  summary: "List data sets, look into one, check the papers', import your own images",
  details: [
    "The papers' sets lie below --root in their published layouts; `check` says what is missing there and where it comes from: it leaves",
    'with 0 if all is whole, 3 if something is missing or differs, 4 if no set is there at all.',
    'Your own: class folders (below train/, val/, test/, or cut 50/20/30 per class by --seed), CSV or JSON lines with path,label[,split],',
    "Hugging Face's imagefolder and parquet files, and split_zhou_*.json.",
  ].join('\n'),
  flags: FLAGS,
  examples: [
    'cocoop-train dataset list',
    'cocoop-train dataset show emoji-kinds',
    'cocoop-train dataset check --root /data',
    'cocoop-train dataset check oxford_pets --root /data',
    'cocoop-train dataset split oxford_pets --root /data --shots 16 --seed 1 --out pets.json',
    'cocoop-train dataset import ./photos --name my-photos',
    'cocoop-train dataset import labels.csv --name my-photos --link',
  ],
  run: (options, context) => {
    const { action, target } = options
    if (action === 'list') return list(options, context)
    if (action === 'check') return check(target, options, context)
    if (target === undefined) {
      const wanted = action === 'import' ? 'the path of a folder or file' : 'NAME|PATH'
      throw new TrainError('usage', `dataset ${action}: ${wanted} is missing`)
    }
    if (action === 'split') return split(target, options, context)
    return action === 'show' ? show(target, options, context) : importInto(target, options, context)
  },
})

async function show(target: string, options: DatasetOptions, { print, terminal, signal }: Context): Promise<unknown> {
  const set = await openDataset(target, { ...options, terminal })
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
  for (const problem of found.problems) print(`  ${describe(problem)}`)
  return { name, root, layout, fingerprint: hash, ...found }
}

async function importInto(
  target: string,
  options: DatasetOptions,
  { print, terminal, signal }: Context,
): Promise<unknown> {
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
