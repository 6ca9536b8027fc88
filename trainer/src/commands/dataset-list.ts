/** `dataset list`: the sets that have a name, and which of the papers' are below the root. */
import type { Context } from '../command.ts'
import { kindOf } from '../datasets/disk.ts'
import { namedDatasets } from '../datasets/open.ts'
import { isThere } from '../datasets/papers/check.ts'
import { PAPERS } from '../datasets/papers/table.ts'
import { TrainError } from '../errors.ts'
import { table } from '../table.ts'

export async function list(
  options: { data_sets: string; root?: string | undefined },
  { print }: Context,
): Promise<unknown> {
  const sets = await Promise.all(
    (await namedDatasets(options)).map(async ({ name, source, open }) => {
      try {
        const { classnames, train, val, test, layout, root } = await open()
        const counts = { n_cls: classnames.length, train: train.length, val: val.length, test: test.length }
        return { name, source, layout, ...counts, root }
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
  const papers = await listPapers(options.root)
  print(
    `\nThe papers' sets, ${options.root === undefined ? 'below --root DIR or COCOOP_ROOT' : `below ${options.root}`}:`,
  )
  const counted = (n: number) => (n === 0 ? '-' : String(n))
  const rows = papers.map(({ name, folder, there, published: { n_cls, train, val, test } }) => [
    name,
    `${folder}/`,
    there === null ? '-' : there ? 'yes' : 'no',
    ...[n_cls, train, val, test].map(counted),
  ])
  print(table(['name', 'folder', 'there', 'classes', 'train', 'val', 'test'], rows))
  return { data_sets: sets, root: options.root ?? null, papers }
}

/** `there` is null without a root to look below. Counts are the published ones: `dataset check` counts what is there. */
async function listPapers(root: string | undefined) {
  if (root !== undefined && !(await kindOf(root, 'isDirectory')))
    throw new TrainError('not_found', `--root: there is no folder ${root}`)
  return await Promise.all(
    PAPERS.map(async (paper) => {
      const { name, registry, folder, n_cls, published } = paper
      const there = root === undefined ? null : await isThere(paper, root)
      return { name, registry, folder, there, published: { n_cls, ...published } }
    }),
  )
}
