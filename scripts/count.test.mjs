import assert from 'node:assert/strict'
import { test } from 'node:test'
import { add, countCargo, countNode, countVitest, line, verdict } from './count.mjs'

const ok = { passed: 2, failed: 0, skipped: 0 }
const cargo = (parity) => `
running 3 tests
test ops::linear::tests::backward ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s
test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
${parity}
`

test('cargo: every target is counted, and the golden cases with them', () => {
  assert.deepEqual(countCargo({ output: cargo('parity: 30 passed, 2 failed') }), {
    passed: 36,
    failed: 3,
    skipped: 1,
    problems: [],
  })
  assert.equal(countCargo({ output: cargo('parity: 30 passed, 0 failed, 5 skipped') }).skipped, 6)
})

test('cargo: colours do not hide a count', () => {
  const output =
    'test result: \x1b[32mok\x1b[0m. 2 passed; 0 failed; 0 ignored; 0 measured\nparity: 1 passed, 0 failed\n'
  assert.equal(countCargo({ output }).passed, 3)
})

test('cargo: golden cases that did not run are a failure', () => {
  assert.equal(verdict(countCargo({ output: cargo('') }), 0).failed, 2)
  assert.equal(verdict(countCargo({ output: cargo('parity: 0 passed, 0 failed') }), 0).failed, 2)
})

test('node: passes, failures and skips', () => {
  const output = 'ℹ tests 5\nℹ pass 3\nℹ fail 1\nℹ cancelled 0\nℹ skipped 1\nℹ todo 0\n'
  assert.deepEqual(countNode({ output }), { passed: 3, failed: 1, skipped: 1 })
  assert.deepEqual(countNode({ output: '# pass 3\n# fail 0\n' }), { passed: 3, failed: 0, skipped: 0 })
})

test('vitest: a file that could not be loaded is a failure', () => {
  const report = {
    numPassedTests: 4,
    numFailedTests: 0,
    numTotalTests: 5,
    testResults: [
      { name: 'a.test.ts', status: 'passed', assertionResults: [{ status: 'passed' }] },
      { name: 'b.test.ts', status: 'failed', message: 'SyntaxError', assertionResults: [] },
    ],
  }
  const result = verdict(countVitest({ report }), 1)
  assert.deepEqual(result, { passed: 4, failed: 1, skipped: 1, problems: ['b.test.ts: SyntaxError'] })
})

test('vitest: no report is a failure, even with exit code 0', () => {
  assert.ok(verdict(countVitest({ report: undefined }), 0).failed > 0)
})

test('a suite that ran nothing, or skipped everything, has failed', () => {
  assert.equal(verdict({ passed: 0, failed: 0, skipped: 0 }, 0).failed, 1)
  assert.equal(verdict({ passed: 0, failed: 0, skipped: 9 }, 0).failed, 1)
})

test('a suite that crashed has failed, whatever had passed before', () => {
  assert.equal(verdict(ok, 101).failed, 1)
  assert.equal(verdict(ok, 'SIGSEGV').failed, 1)
  assert.equal(verdict(ok, 0).failed, 0)
})

test('a failed test is counted once, though it also sets the exit code', () => {
  assert.equal(verdict({ passed: 1, failed: 2, skipped: 0 }, 1).failed, 2)
})

test('the total adds every suite', () => {
  const total = add([ok, verdict({ passed: 0, failed: 0, skipped: 0 }, 0), { passed: 1, failed: 0, skipped: 3 }])
  assert.deepEqual(total, { passed: 3, failed: 1, skipped: 3 })
  assert.equal(line(total), '3 passed, 1 failed, 3 skipped')
  assert.equal(line(ok), '2 passed, 0 failed')
})
