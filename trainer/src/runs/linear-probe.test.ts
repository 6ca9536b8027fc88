import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { searchC } from './linear-probe.ts'
import { formatProbe, type Probe, readProbe } from './probe-file.ts'

const probe = (c: number): Probe => ({
  classnames: ['a', 'b'],
  c,
  model: { id: 'm', sha256: 's' },
  training: {},
  metrics: {},
  weight: Float32Array.of(1, 2, 3, 4, 5, 6),
  bias: Float32Array.of(-1, 1),
})

/** The search over an accuracy that is a function of log10 C; which C were fitted, and what came out. */
async function search(accuracy: (power: number) => number) {
  const fitted: number[] = []
  const found = await searchC(async (c) => {
    fitted.push(Math.log10(c))
    return { c, accuracy: accuracy(Math.log10(c)), probe: probe(c) }
  })
  return { fitted, power: Math.log10(found.c) }
}

test('C is searched as lpclip does: a grid, then halvings around its best', async () => {
  const { fitted, power } = await search((x) => -Math.abs(x - 0.4))
  expect(fitted.slice(0, 7)).toEqual([6, 4, 2, 0, -2, -4, -6])
  // From -1 to 1: the right end is better, so the left moves to the middle, and so on.
  const halvings = [-1, 1, 0, 0.5, 0.25, 0.375, 0.4375, 0.40625, 0.390625]
  for (const [i, x] of halvings.entries()) expect(fitted[7 + i]).toBeCloseTo(x, 10)
  expect(fitted).toHaveLength(16)
  expect(power).toBeCloseTo(0.40625, 10)
})

test('of equals the largest C of the grid counts, and then the left end', async () => {
  const { fitted, power } = await search(() => 50)
  expect(fitted[7]).toBeCloseTo(5)
  expect(fitted[8]).toBeCloseTo(7)
  expect(power).toBeCloseTo(5)
})

test('a probe is read as it was written, and a damaged file is named', async () => {
  const path = join(mkdtempSync(join(tmpdir(), 'probe-')), 'probe.safetensors')
  writeFileSync(path, formatProbe(probe(0.5)))
  expect(await readProbe(path)).toEqual(probe(0.5))
  writeFileSync(path, formatProbe(probe(0.5)).subarray(0, 100))
  await expect(readProbe(path)).rejects.toMatchObject({
    code: 'bad_data',
    message: expect.stringContaining(`${path} is not a linear probe`),
  })
})
