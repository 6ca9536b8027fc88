import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { axesOfFlags, expand, type Grid, parseTest, readGrids } from './grid.ts'
import { Planner } from './plan.ts'

let planner: Planner
beforeAll(async () => {
  planner = await Planner.create()
})

const grid = (axes: Grid['axes'], exclude: Grid['exclude'] = [], tests: Grid['tests'] = []): Grid => ({
  axes,
  exclude,
  tests,
})
const names = async (...grids: Grid[]) => (await expand(grids, planner)).jobs.map(({ name }) => name)
const kinds = { data: ['emoji-kinds'] }

test('all combinations, in groups that share features, zero-shot first and once', async () => {
  const axes = { data: ['emoji-kinds', 'emoji-backdrops'], method: ['cocoop', 'coop', 'zero-shot'], seed: [1, 2] }
  expect(await names(grid(axes))).toEqual([
    'emoji-kinds/zero-shot-all',
    'emoji-kinds/coop-16shots-all-seed1',
    'emoji-kinds/coop-16shots-all-seed2',
    'emoji-kinds/cocoop-16shots-all-seed1',
    'emoji-kinds/cocoop-16shots-all-seed2',
    'emoji-backdrops/zero-shot-all',
    'emoji-backdrops/coop-16shots-all-seed1',
    'emoji-backdrops/coop-16shots-all-seed2',
    'emoji-backdrops/cocoop-16shots-all-seed1',
    'emoji-backdrops/cocoop-16shots-all-seed2',
  ])
})

test('a name says what is not the default, and nothing of what else is in the grid', async () => {
  const coop = { ...kinds, method: ['coop'] }
  expect(await names(grid({ ...coop, n_ctx: [16, 8], lr: [0.002] }))).toEqual([
    'emoji-kinds/coop-16shots-all-seed1', // 16 tokens are the default
    'emoji-kinds/coop-16shots-all-seed1-nctx8',
  ])
  expect(await names(grid({ ...coop, ctx_init: ['a photo of a'], epochs: [3] }))).toEqual([
    'emoji-kinds/coop-16shots-all-seed1-ctxinita_photo_of_a-epochs3-nctx4',
  ])
  const [one, other] = await names(grid({ ...coop, ctx_init: ['a photo-of', 'a photo of'] }))
  expect(one).not.toBe(other)
  expect(one).toMatch(/-ctxinita_photo_of~[0-9a-f]{6}-/)
})

test('how a run is told of goes along, and makes no other job', async () => {
  const told = { log_style: ['dassl'], tensorboard: [true], report: [false] }
  const axes = { data: ['emoji-kinds'], method: ['coop'] }
  const { jobs } = await expand([grid(axes), grid({ ...axes, ...told })], planner)
  expect(jobs.map(({ name }) => name)).toEqual(['emoji-kinds/coop-16shots-all-seed1'])
  const [job] = (await expand([grid({ ...axes, ...told })], planner)).jobs
  expect(job).toMatchObject({
    name: 'emoji-kinds/coop-16shots-all-seed1',
    options: { log_style: 'dassl', tensorboard: true, report: false },
  })
})

test('what a method does not look at makes no other job; what excludes itself is left out and named', async () => {
  const axes = { ...kinds, method: ['zero-shot', 'coop', 'cocoop'], csc: [false, true], epochs: [5], shots: [1, 2] }
  const { jobs, left_out } = await expand([grid(axes)], planner)
  expect(jobs.filter(({ options }) => options.method === 'zero-shot')).toHaveLength(1)
  expect(jobs.filter(({ options }) => options.method === 'coop')).toHaveLength(4)
  expect(jobs.filter(({ options }) => options.method === 'cocoop')).toHaveLength(2)
  expect(left_out.map(({ why }) => why)).toEqual(Array(2).fill('--csc does not go with --method cocoop'))
})

test('a grid of nothing but exclusions is refused', async () => {
  await expect(expand([grid({ ...kinds, method: ['cocoop'], csc: [true] })], planner)).rejects.toMatchObject({
    code: 'usage',
    message: '--csc does not go with --method cocoop',
  })
  await expect(expand([grid({})], planner)).rejects.toMatchObject({ code: 'usage' })
  await expect(expand([grid({ data: ['nowhere'] })], planner)).rejects.toMatchObject({ code: 'not_found' })
})

test('jobs have the tests of the run and those that are asked for, each once', async () => {
  const tests = async (axes: Grid['axes'], more: string[] = []) => {
    const { jobs } = await expand([grid({ ...kinds, ...axes }, [], more.map(parseTest))], planner)
    return jobs[0]?.tests.map(({ dataset, classes }) => `${dataset}:${classes}`)
  }
  expect(await tests({ classes: ['base'] })).toEqual(['emoji-kinds:base', 'emoji-kinds:new'])
  expect(await tests({}, ['emoji-backdrops', 'emoji-kinds:base', 'emoji-backdrops:all'])).toEqual([
    'emoji-kinds:all',
    'emoji-backdrops:all',
    'emoji-kinds:base',
  ])
  // Class-specific context and linear probes serve their own classes only; those of a variant are the same.
  expect(await tests({ method: ['coop'], csc: [true], classes: ['base'] }, ['emoji-backdrops'])).toEqual([
    'emoji-kinds:base',
  ])
  const probe = { data: ['emoji-backdrops'], method: ['linear-probe'] }
  expect(await tests(probe, ['emoji-kinds', 'emoji-backdrops-dark'])).toEqual([
    'emoji-backdrops:all',
    'emoji-backdrops-dark:all',
  ])
})

test('a file of grids is JSON or YAML, with exclusions and tests', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'grid-'))
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const yaml = write(
    'grid.yaml',
    `data: emoji-kinds
method: [coop, cocoop]
shots: [1, 2]
n-ctx: 4
tests: [emoji-backdrops, {data: emoji-kinds, classes: new}]
exclude:
  - {method: cocoop, shots: [2]}
`,
  )
  const { jobs } = await expand(await readGrids(yaml), planner)
  expect(jobs.map(({ name }) => name)).toEqual([
    'emoji-kinds/coop-1shots-all-seed1-nctx4',
    'emoji-kinds/coop-2shots-all-seed1-nctx4',
    'emoji-kinds/cocoop-1shots-all-seed1', // four tokens are its default
  ])
  expect(jobs[0]?.tests).toHaveLength(3)
  const json = write(
    'grid.json',
    JSON.stringify([{ data: 'emoji-kinds', method: 'coop' }, { data: ['emoji-backdrops'] }]),
  )
  expect(await names(...(await readGrids(json)))).toHaveLength(2)
  for (const [text, message] of [
    ['data: [', 'cannot be read'],
    ['dta: x', 'Did you mean "data"?'],
    ['{data: x, shots: many}', 'shots: '],
    ['{data: x, method: soap}', 'method: '],
    ['just words', 'expected options'],
    ['{data: x, tests: 5}', 'tests: '],
  ] as const) {
    const error: unknown = await readGrids(write('bad.yaml', text)).catch((cause: unknown) => cause)
    expect(error).toMatchObject({ code: 'usage' })
    expect(`${(error as Error).message} ${(error as { hint?: string }).hint}`).toContain(message)
  }
})

test('flags are lists between commas; a text with commas is one value', () => {
  expect(
    axesOfFlags({ data: ['a, b'], shots: ['1,2', '4'], csc: ['true,false'], ctx_init: ['one, two'], seed: [] }),
  ).toEqual({
    data: ['a', 'b'],
    shots: [1, 2, 4],
    csc: [true, false],
    ctx_init: ['one, two'],
  })
  expect(() => axesOfFlags({ shots: ['1,x'] })).toThrow(expect.objectContaining({ code: 'usage' }))
})
