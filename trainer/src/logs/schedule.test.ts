import { expect, test } from 'vitest'
import { lrAt } from './schedule.ts'

test("the rates are the original's: 1e-5, then a cosine from the full rate that never reaches 0", () => {
  const options = { lr: 0.002, epochs: 10, warmup_epochs: 1, warmup_lr: 1e-5 }
  const rates = Array.from({ length: 10 }, (_, e) => lrAt(options, e).toExponential(4))
  const tail = ['1.8090e-3', '1.5878e-3', '1.3090e-3', '1.0000e-3', '6.9098e-4', '4.1221e-4', '1.9098e-4']
  expect(rates).toEqual(['1.0000e-5', '2.0000e-3', '1.9511e-3', ...tail])
  expect(lrAt({ ...options, epochs: 200 }, 199)).toBeCloseTo(4.9344e-7, 10)
})
