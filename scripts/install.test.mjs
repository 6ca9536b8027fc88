import assert from 'node:assert/strict'
import { test } from 'node:test'
import { firstDifference } from './install.mjs'

const lock = {
  packages: {
    '': { name: 'root' },
    ts: { version: '0.1.0' },
    'node_modules/cocoop': { resolved: 'ts', link: true },
    'node_modules/zod': { version: '4.6.0' },
    'node_modules/for-windows': { version: '1.0.0', optional: true },
  },
}
const { 'node_modules/for-windows': _, ...here } = lock.packages

test('what is optional may be missing', () => {
  assert.equal(firstDifference(lock, { packages: here }), undefined)
})
test('a missing package is seen', () => {
  const { 'node_modules/zod': _zod, ...packages } = here
  assert.equal(firstDifference(lock, { packages }), 'node_modules/zod')
})
test('another version is seen, of an optional package too', () => {
  assert.equal(
    firstDifference(lock, { packages: { ...here, 'node_modules/zod': { version: '4.5.0' } } }),
    'node_modules/zod',
  )
  const optional = { ...here, 'node_modules/for-windows': { version: '0.9.0' } }
  assert.equal(firstDifference(lock, { packages: optional }), 'node_modules/for-windows')
})
test('a workspace that is a copy instead of a link is seen', () => {
  assert.equal(
    firstDifference(lock, { packages: { ...here, 'node_modules/cocoop': { version: '0.1.0' } } }),
    'node_modules/cocoop',
  )
})
