/** The sums over a Meta-Net's shifts, on numbers that can be followed by hand. */
import { expect, test } from 'vitest'
import { reportShifts, rowsOf, shifted } from './shifts.ts'

const CTX = Float32Array.of(3, 4, 0, 5) // two vectors of length 5

test('images that move alike have all in common', () => {
  const report = reportShifts(CTX, 2, Float32Array.of(0, 1, 0, 1), [0, 1], ['a', 'b'])
  expect(report).toMatchObject({ ctx_length: 5, mean: 0.2, common: 0.2, common_share: 1, class_share: 0 })
  expect(report.images).toEqual([0.2, 0.2])
  expect(report.per_class).toEqual([
    { classname: 'a', images: 1, mean: 0.2, apart: 0, mean_shift: [0, 1] },
    { classname: 'b', images: 1, mean: 0.2, apart: 0, mean_shift: [0, 1] },
  ])
})

test('what is not common is of the classes, or of the images alone', () => {
  const opposite = reportShifts(CTX, 2, Float32Array.of(1, 0, 1, 0, -1, 0, -1, 0), [0, 0, 1, 1], ['a', 'b', 'none'])
  expect(opposite).toMatchObject({ common: 0, common_share: 0, class_share: 1 })
  expect(opposite.per_class.map(({ classname, apart }) => [classname, apart])).toEqual([
    ['a', 0.2],
    ['b', 0.2],
  ])
  const alone = reportShifts(CTX, 2, Float32Array.of(1, 0, -1, 0, 1, 0, -1, 0), [0, 0, 1, 1], ['a', 'b'])
  expect(alone).toMatchObject({ common_share: 0, class_share: 0 })
})

test('a shift is added to every vector', () => {
  const moved = shifted(CTX, Float32Array.of(1, -1))
  expect(rowsOf(moved, 2).map((row) => [...row])).toEqual([
    [4, 3],
    [1, 4],
  ])
})
