/** The protocols as processes on a tiny data set: the shapes of their tables, and that a second time nothing is run. */
import { readdirSync, readFileSync } from 'node:fs'
import { beforeAll, expect, test, vi } from 'vitest'
import { writeMiniature } from '../../../test/support/papers.ts'
import { Home, makeColours } from '../testing/cli.ts'

vi.setConfig({ testTimeout: 180_000 })
const home = new Home('protocols')
const TINY = ['--epochs', '1', '--seed', '1,2']

interface Document {
  tables: {
    title: string
    columns: string[]
    rows: { label: string; cells: Record<string, { mean: number; mean_of_h?: number; values: unknown[] } | null> }[]
  }[]
  jobs: { total: number; done: number; found: number }
}
const labels = ({ tables }: Document) => tables.map(({ rows }) => rows.map(({ label }) => label))

beforeAll(async () => {
  await makeColours(home.file('colours'))
  await makeColours(home.file('shades'), { train: 4, test: 2 })
})

test('base-to-new: rows are data sets and their average, columns base, new and H of each method', async () => {
  const args = ['base-to-new', '--data', 'colours,shades', '--shots', '2', ...TINY, '--out', 'b2n']
  const first = await home.json<Document>(...args)
  expect(labels(first)).toEqual([['colours', 'shades', 'average']])
  const [table] = first.tables
  expect(table?.columns).toEqual(
    ['zero-shot', 'CoOp', 'CoCoOp'].flatMap((method) => ['base', 'new', 'H'].map((one) => `${method} ${one}`)),
  )
  const cell = (row: number, column: string) => table?.rows[row]?.cells[column]
  expect(cell(0, 'zero-shot base')?.values).toHaveLength(1)
  expect(cell(0, 'CoOp base')?.values).toHaveLength(2)
  const [base, fresh] = [cell(2, 'CoCoOp base')?.mean ?? 0, cell(2, 'CoCoOp new')?.mean ?? 0]
  expect(cell(2, 'CoCoOp H')?.mean).toBeCloseTo(base + fresh === 0 ? 0 : (2 * base * fresh) / (base + fresh))
  expect(first.jobs).toMatchObject({ total: 10, done: 10, found: 0 })
  expect(readFileSync(home.file('b2n/tables.md'), 'utf8')).toContain('| colours |')
  const again = await home.json<Document>(...args)
  expect(again.jobs).toMatchObject({ total: 10, found: 10 })
  expect(again.tables).toEqual(first.tables)
})

test('a preset is for the runs of its method, and goes before what the protocol begins with', async () => {
  const presets = ['--preset', 'rn50', '--preset', 'vit_b16_c4_ep10_batch1', '--option', 'any_backbone=true']
  const args = ['base-to-new', '--data', 'colours', '--shots', '2', '--seed', '1', ...presets, '--dry-run']
  const { jobs } = await home.json<{ jobs: { options: Record<string, unknown> }[] }>(...args, '--out', 'presets')
  const of = (method: string) => jobs.find(({ options }) => options.method === method)?.options
  expect(of('coop')).toMatchObject({ preset: 'rn50', epochs: 200 })
  expect(of('coop')).not.toHaveProperty('ctx_init') // 16 random tokens, the default of train
  expect(of('cocoop')).toMatchObject({ preset: 'vit_b16_c4_ep10_batch1', ctx_init: '' })
  expect(of('zero-shot')).not.toHaveProperty('preset')
})

test('transfer: a column for the source, one for each target, and their average', async () => {
  const args = ['--source', 'colours', '--data', 'shades', '--shots', '2', '--method', 'zero-shot,coop', ...TINY]
  const cross = await home.json<Document>('cross-dataset', ...args, '--out', 'cross')
  expect(labels(cross)).toEqual([['zero-shot', 'CoOp']])
  expect(cross.tables[0]?.columns).toEqual(['source colours', 'tested on shades', 'tested on average'])
  expect(cross.jobs.total).toBe(4) // zero-shot on either set, CoOp twice
  const domain = await home.json<Document>('domain-generalization', ...args, '--out', 'domain')
  expect(domain.jobs.total).toBe(3)
  expect(domain.tables[0]?.rows.every(({ cells }) => Object.values(cells).every((cell) => cell !== null))).toBe(true)
})

test('few-shot and linear-probe share their runs', async () => {
  const args = ['--data', 'colours', '--shots', '1,2', '--method', 'zero-shot,coop', ...TINY, '--out', 'few']
  const few = await home.json<Document>('few-shot', ...args)
  expect(few.tables[0]?.columns).toEqual(['shots 0', 'shots 1', 'shots 2'])
  expect(few.tables[0]?.rows[0]?.cells).toMatchObject({ 'shots 0': { mean: expect.any(Number) }, 'shots 1': null })
  const probe = await home.json<Document>('linear-probe', ...args)
  expect(probe.tables[0]?.columns).toEqual(['zero-shot 0', 'CoOp 1', 'CoOp 2', 'CoOp to match'])
  expect(probe.jobs).toMatchObject({ total: 5, found: 5 })
})

test('ablation: a table for each question; CoCoOp has the parameters that its paper counts, and the biases', async () => {
  const args = [
    'ablation',
    '--data',
    'colours',
    '--shots',
    '1',
    '--part',
    'parameters,position',
    '--epochs',
    '1',
    '--seed',
    '1',
  ]
  const found = await home.json<Document>(...args, '--out', 'ablation')
  expect(labels(found)).toEqual([
    ['CoOp, 4 tokens', 'CoOp, 60 tokens', 'CoCoOp, 4 tokens'],
    ['end', 'middle', 'front'],
  ])
  const parameters = found.tables[0]?.rows.map(({ cells }) => cells.parameters?.mean)
  // emoji-clip: width and embedding 192, 12 hidden units.
  expect(parameters).toEqual([4 * 192, 60 * 192, 4 * 192 + 12 * 193 + 192 * 13])
})

test('backbones: a row for each model', async () => {
  const args = [
    'backbones',
    '--data',
    'colours,shades',
    '--model',
    'emoji-clip',
    '--method',
    'zero-shot',
    '--out',
    'backbones',
  ]
  const found = await home.json<Document>(...args)
  expect(labels(found)).toEqual([['emoji-clip']])
  expect(found.tables[0]?.columns).toEqual(['colours zero-shot', 'shades zero-shot', 'average zero-shot'])
})

test('a run that fails leaves its cells empty, and the exit code says so', async () => {
  const args = [
    'base-to-new',
    '--data',
    'colours,shades',
    '--shots',
    '5',
    '--method',
    'zero-shot,coop',
    ...TINY,
    '--out',
    'holes',
  ]
  const { code, stdout, stderr } = await home.run(...args)
  expect(code).toBe(1)
  expect(stdout).toMatch(/^shades +\d+\.\d\d +\d+\.\d\d +\d+\.\d\d +- +- +-$/m)
  expect(stderr).toContain('2 of 6 jobs failed')
})

test('--published prints the figures of the papers, marked as such, for their data sets only; --root says where those lie', async () => {
  await writeMiniature(home.file('papers'), 'eurosat')
  const args = ['--method', 'zero-shot', '--published']
  const none = await home.run('base-to-new', '--data', 'colours', ...args, '--out', 'published')
  expect(none.stdout).toContain('The papers have no figures for these data sets.')
  const { code, stdout } = await home.run(
    'base-to-new',
    '--data',
    'eurosat',
    '--root',
    'papers',
    ...args,
    '--out',
    'papers-b2n',
  )
  expect([code, stdout]).toEqual([
    0,
    expect.stringMatching(/Published \(CoCoOp, Table 1[\s\S]*\neurosat +56\.48 +64\.05 +60\.03$/m),
  ])
  // The set's own template, and the place of the data in the job but not in its name.
  const [run = ''] = readdirSync(home.file('papers-b2n/eurosat'))
  expect(run).toMatch(/^zero-shot-base-templatesdataset_eurosat~[0-9a-f]{6}$/)
  const job = JSON.parse(readFileSync(home.file('papers-b2n/eurosat', run, 'job.json'), 'utf8')) as { options: unknown }
  expect(job.options).toMatchObject({ root: home.file('papers'), templates: ['dataset:eurosat'] })
})
