/**
 * From what a test runner printed to how many tests passed, failed and were skipped, and to the one line at the end.
 * A suite that crashed or ran nothing has failed, whatever it printed: silence must never look like success.
 */
import { stripVTControlCharacters } from 'node:util'

const sum = (text, pattern) => {
  const total = { passed: 0, failed: 0, skipped: 0 }
  for (const { groups } of stripVTControlCharacters(text).matchAll(pattern)) {
    for (const key of Object.keys(total)) total[key] += Number(groups[key] ?? 0)
  }
  return total
}

/** `cargo test`: every target's line, and the line of the golden cases, which have a runner of their own. */
export function countCargo({ output }) {
  const tests = sum(
    output,
    /^test result: \w+\. (?<passed>\d+) passed; (?<failed>\d+) failed; (?<skipped>\d+) ignored;/gm,
  )
  const parity = sum(
    output,
    /^parity: (?<passed>\d+) passed, (?<failed>\d+) failed(?:, (?<skipped>\d+) skipped)?\s*$/gm,
  )
  const missing =
    parity.passed + parity.failed === 0 ? ['no golden case ran (the line `parity: N passed` is missing)'] : []
  return { ...add([tests, parity]), problems: missing }
}

/** `node --test`. */
export function countNode({ output }) {
  return sum(
    output,
    /^(?:ℹ|#) (?:pass (?<passed>\d+)|fail (?<failed>\d+)|(?:skipped|cancelled|todo) (?<skipped>\d+))\s*$/gm,
  )
}

/** vitest's JSON report. A file that could not be loaded has no tests in it and still counts as one failure. */
export function countVitest({ report }) {
  if (!report) return { passed: 0, failed: 0, skipped: 0, problems: ['it wrote no report'] }
  const { testResults = [], numPassedTests, numFailedTests, numTotalTests } = report
  const broken = testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  )
  return {
    passed: numPassedTests,
    failed: numFailedTests,
    skipped: numTotalTests - numPassedTests - numFailedTests,
    problems: broken.map((file) => `${file.name}: ${file.message || 'failed outside its tests'}`),
  }
}

/**
 * The verdict on one suite: its counts, one more failure for each thing that is wrong beside its failed tests.
 * `exit` is the exit code, or the name of the signal that ended it.
 */
export function verdict({ passed, failed, skipped, problems = [] }, exit) {
  const all = [...problems]
  if (passed + failed === 0) all.push('it ran no tests')
  if (exit !== 0 && failed + all.length === 0) all.push(`it ended with ${exit}, though no test failed`)
  return { passed, failed: failed + all.length, skipped, problems: all }
}

/** Sums counts. */
export function add(counts) {
  const total = { passed: 0, failed: 0, skipped: 0 }
  for (const count of counts) for (const key of Object.keys(total)) total[key] += count[key]
  return total
}

/** `12 passed, 0 failed`, and `, 3 skipped` where there are any. */
export function line({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}
