import { expect, test } from 'vitest'
import { argmax, calibration, calibrationError, harmonicMean, score } from './metrics.ts'
import { table } from './table.ts'

test("accuracy and macro-F1 are scikit-learn's, over the classes among the labels", () => {
  // f1_score([0,0,1,1,1,2], [0,1,1,1,3,2], average='macro', labels=[0,1,2]) = (2/3 + 2/3 + 1) / 3
  const { accuracy, macro_f1, per_class } = score([0, 1, 1, 1, 3, 2], [0, 0, 1, 1, 1, 2], ['a', 'b', 'c', 'd'])
  expect(accuracy).toBeCloseTo(100 * (4 / 6))
  expect(macro_f1).toBeCloseTo(100 * (7 / 9))
  expect(per_class.map(({ classname, correct, total }) => [classname, correct, total])).toEqual([
    ['a', 1, 2],
    ['b', 2, 3],
    ['c', 1, 1],
  ])
})

test('H is the harmonic mean', () => {
  expect(harmonicMean(80.47, 71.69)).toBeCloseTo(75.83, 2) // CoCoOp, Table 1, average of 11 data sets
  expect(harmonicMean(0, 0)).toBe(0)
})

test('the calibration error weighs each bin by what is in it', () => {
  // Three predictions at 0.9 of which two are right, one at 0.4 that is right: (3·|0.9 - 2/3| + |0.4 - 1|) / 4
  const [confidence, right] = [
    [0.9, 0.9, 0.9, 0.4],
    [true, true, false, true],
  ]
  expect(calibrationError(confidence, right)).toBeCloseTo(100 * ((0.7 + 0.6) / 4))
  expect(calibration(confidence, right).flatMap(({ count }, bin) => (count > 0 ? [[bin, count]] : []))).toEqual([
    [5, 1], // (5/15, 6/15]
    [13, 3],
  ])
  expect(calibrationError([1, 0], [true, false])).toBe(0)
  expect(calibrationError([], [])).toBe(0)
})

test('of equal values the first wins', () => {
  expect(argmax([0.1, 0.4, 0.4, 0.1])).toBe(1)
})

test('a table is aligned', () => {
  expect(
    table(
      ['name', 'x'],
      [
        ['a', '1.0'],
        ['bcdef', '10.0'],
      ],
    ),
  ).toBe('name      x\n-----  ----\na       1.0\nbcdef  10.0')
})
