/**
 * Runs every suite, or those named, one after the other; a failing one stops none of the others.
 * The last line adds them all up: `N passed, N failed`. The exit code is 0 only when nothing failed.
 * `npm test` sets up the tools first. COCOOP_FULL=1 (`npm run test:full`) adds the slow cases to the suites that have some.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { add, countCargo, countNode, countVitest, line, verdict } from './count.mjs'

const root = resolve(import.meta.dirname, '..')
const reports = join(root, 'target', 'test-reports')
const node = process.execPath
/** What tests leave in the folder for temporary files goes with them. */
const scratch = mkdtempSync(join(tmpdir(), 'cocoop-test-'))
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }))
const report = (name) => join(reports, `${name}.json`)
const vitest = (name) => ({
  name,
  command: [
    ...[node, join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--root', name],
    ...['--reporter=default', '--reporter=json', `--outputFile.json=${report(name)}`],
  ],
  count: countVitest,
  needsBuild: true,
})

const suites = [
  { name: 'scripts', command: [node, '--test', '--test-reporter=spec', 'scripts/*.test.mjs'], count: countNode },
  { name: 'rust', command: ['cargo', 'test', '--workspace', '--no-fail-fast'], count: countCargo },
  {
    name: 'wasm',
    command: [node, '--test', '--test-reporter=spec', 'crates/core/tests/wasm.test.mjs'],
    count: countNode,
  },
  vitest('ts'),
  vitest('worker'),
  vitest('trainer'),
  vitest('test'), // what crosses packages: the doors against each other, and end to end
]

/** Runs a command, shows its output as it comes, and returns it with the exit code. */
function run([command, ...args]) {
  return new Promise((done) => {
    const colour = process.stdout.isTTY ? { FORCE_COLOR: '1', CARGO_TERM_COLOR: 'always' } : { NO_COLOR: '1' }
    const env = { ...process.env, ...colour, WRANGLER_SEND_METRICS: 'false', TMPDIR: scratch }
    const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text
      process.stdout.write(text)
    })
    child.stderr.on('data', (text) => process.stderr.write(text))
    child.on('error', (error) => done({ output, exit: error.message }))
    child.on('close', (code, signal) => done({ output, exit: signal ?? code }))
  })
}

function readReport(name) {
  try {
    return JSON.parse(readFileSync(report(name), 'utf8'))
  } catch {
    return undefined
  }
}

async function runSuite(suite, built) {
  if (suite.needsBuild && !built) return { passed: 0, failed: 1, skipped: 0, problems: ['not run: the build failed'] }
  const { output, exit } = await run(suite.command)
  return verdict(suite.count({ output, report: readReport(suite.name) }), exit)
}

const names = process.argv.slice(2)
const unknown = names.filter((name) => !suites.some((suite) => suite.name === name))
if (unknown.length > 0) {
  console.error(`no suite ${unknown.join(', ')}; there are: ${suites.map((suite) => suite.name).join(', ')}`)
  process.exit(2)
}
const chosen = names.length > 0 ? suites.filter((suite) => names.includes(suite.name)) : suites

rmSync(reports, { recursive: true, force: true })
mkdirSync(reports, { recursive: true })
const built = !chosen.some((suite) => suite.needsBuild) || (await run([node, 'scripts/build.mjs'])).exit === 0

const results = []
for (const suite of chosen) {
  console.log(`\n=== ${suite.name}`)
  const started = performance.now()
  const result = await runSuite(suite, built)
  for (const problem of result.problems) console.log(`${suite.name}: ${problem}`)
  results.push({ ...result, name: suite.name, seconds: (performance.now() - started) / 1000 })
}

console.log('\n=== summary')
const row = (...cells) => console.log(cells.map((cell, i) => (i === 0 ? cell.padEnd(8) : cell.padStart(9))).join(''))
row('suite', 'passed', 'failed', 'skipped', 'time')
for (const { name, passed, failed, skipped, seconds } of results) {
  row(name, `${passed}`, `${failed}`, `${skipped}`, `${seconds.toFixed(1)} s`)
}
const total = add(results)
console.log(line(total))
process.exit(total.failed > 0 ? 1 : 0)
