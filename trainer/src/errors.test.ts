import { expect, test } from 'vitest'
import { problemOf, TrainError } from './errors.ts'

test.each([
  [new TrainError('usage', 'x'), 2],
  [Object.assign(new Error('image: truncated'), { code: 'bad_image' }), 3],
  [Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT' }), 4],
  [Object.assign(new Error('other model'), { code: 'model_mismatch' }), 5],
  [Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }), 6],
  [new RangeError('Array buffer allocation failed'), 6],
  [new DOMException('stopped', 'AbortError'), 130],
  [new TypeError('a bug'), 1],
  ['thrown text', 1],
])('%s leaves with %i', (error, exit) => {
  expect(problemOf(error).exit).toBe(exit)
})

test('the hint of the error goes before that of its word', () => {
  expect(problemOf(new TrainError('not_found', 'x', 'Do this.')).hint).toBe('Do this.')
  expect(problemOf(new TrainError('not_found', 'x')).hint).toContain('doctor')
})
