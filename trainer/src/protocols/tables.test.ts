import { expect, test } from 'vitest'
import { harmonicMean } from '../metrics.ts'
import type { Job } from '../sweep/job.ts'
import { publishedBaseToNewTable } from './base-to-new.ts'
import { accuracy, derived, fixed, harmonic, mean, NOTHING, type Read } from './cells.ts'
import { publishedCrossTable } from './cross-dataset.ts'
import { publishedShiftTable } from './domain-generalization.ts'
import { shotsToReach } from './few-shot.ts'
import { ELEVEN, SHIFTED } from './papers.ts'
import { csv, fill, json, markdown, perSeed, type TablePlan, text } from './tables.ts'

const job = (name: string, seed?: number): Job => ({
  name,
  options: seed === undefined ? {} : { seed },
  tests: [],
  epochs: 0,
})
const seeds = [1, 2].map((seed) => job(`coop-${seed}`, seed))
const zero = [job('zero')]
const found: Record<string, number> = {
  'coop-1 base': 80,
  'coop-2 base': 90,
  'coop-1 new': 60,
  'coop-2 new': 40,
  'zero base': 50,
}
const read: Read = ({ name }, _, classes) => found[`${name} ${classes}`]
const [base, fresh] = [accuracy(seeds, 'd', 'base'), accuracy(seeds, 'd', 'new')]

test('H is that of the averages over the seeds, as in the papers; the mean of the seeds’ own H stands beside', () => {
  const figure = harmonic(base, fresh).figure(read)
  expect(figure?.mean).toBeCloseTo(harmonicMean(85, 50))
  expect(figure?.mean_of_h).toBeCloseTo((harmonicMean(80, 60) + harmonicMean(90, 40)) / 2)
  expect(figure?.values.map(({ seed }) => seed)).toEqual([1, 2])
  expect(figure?.mean).not.toBeCloseTo(figure?.mean_of_h ?? 0, 1)
})

test('the deviation is that of the population', () => {
  expect(base.figure(read)).toMatchObject({ mean: 85, std: 5 })
})

test('a cell of which a run is missing is empty, and so is what follows from it', () => {
  const some = accuracy([...seeds, job('coop-3', 3)], 'd', 'base')
  expect(some.figure(read)).toBeUndefined()
  expect(mean([base, some]).figure(read)).toBeUndefined()
  expect(harmonic(some, fresh).figure(read)).toBeUndefined()
  expect(derived([some], ([a = 0]) => a).figure(read)).toBeUndefined()
  expect(mean([base, some]).jobs).toHaveLength(5)
})

const plan: TablePlan = {
  title: 'A table',
  corner: 'data set',
  columns: [
    { label: 'base', group: 'zero-shot' },
    { label: 'base', group: 'CoOp' },
    { label: 'new', group: 'CoOp' },
    { label: 'parameters' },
  ],
  rows: [{ label: 'a,b|c', cells: [accuracy(zero, 'd', 'base'), base, NOTHING, fixed(2048, 0)] }],
}

test('as text, with the methods above their columns', () => {
  expect(text(fill(plan, read))).toBe(
    [
      'A table',
      '          zero-shot  CoOp',
      'data set       base   base  new  parameters',
      '--------  ---------  -----  ---  ----------',
      'a,b|c         50.00  85.00    -        2048',
    ].join('\n'),
  )
})

test('as Markdown, CSV and JSON', () => {
  const table = fill(plan, read)
  expect(markdown([table])).toContain('| a,b\\|c | 50.00 | 85.00 | - | 2048 |')
  expect(perSeed(table)).toBe('a,b|c, CoOp base: 85.00 ± 5.00 (seed 1: 80.00, seed 2: 90.00)')
  expect(csv([table]).split('\n').slice(3, 7)).toEqual([
    'A table,"a,b|c",CoOp base,mean,85',
    'A table,"a,b|c",CoOp base,std,5',
    'A table,"a,b|c",CoOp base,seed 1,80',
    'A table,"a,b|c",CoOp base,seed 2,90',
  ])
  expect(json(table).rows[0]?.cells).toMatchObject({ 'CoOp base': { mean: 85, std: 5 }, 'CoOp new': null })
})

test('the published averages follow from the published rows', () => {
  const [table] = publishedBaseToNewTable(ELEVEN, ['zero-shot', 'coop', 'cocoop'])
  const columns = [0, 1, 3, 4, 6, 7].map((i) => {
    const values = table?.rows.map(({ figures }) => figures[i]?.mean ?? Number.NaN) ?? []
    return values.reduce((sum, value) => sum + value, 0) / 11
  })
  expect(columns.map((value) => value.toFixed(2))).toEqual(['69.34', '74.22', '82.69', '63.22', '80.47', '71.69'])
  const last = (tables: ReturnType<typeof publishedCrossTable>) =>
    tables[0]?.rows.map(({ figures }) => figures.at(-1)?.mean.toFixed(2))
  expect(last(publishedCrossTable(ELEVEN, ['coop', 'cocoop']))).toEqual(['63.88', '65.74'])
  expect(publishedShiftTable(['imagenet', ...SHIFTED], ['zero-shot', 'coop', 'cocoop'])[0]?.rows).toHaveLength(3)
  expect(publishedBaseToNewTable(['emoji-kinds'], ['coop'])).toEqual([])
  expect(publishedCrossTable(['emoji-kinds', 'dtd'], ['coop'])).toEqual([])
})

test.each([
  [70, 4 * 2 ** 0.5], // half way between 60 at 4 and 80 at 8, on a logarithmic axis
  [10, 1],
  [50, 1],
  [90, undefined],
])('zero-shot at %d is reached with %d shots', (level, shots) => {
  const needed = shotsToReach(level, [1, 2, 4, 8], [50, 55, 60, 80])
  if (shots === undefined) expect(needed).toBeUndefined()
  else expect(needed).toBeCloseTo(shots)
})
