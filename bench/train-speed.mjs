/**
 * Training speed on the embedded model and data: images per second of CoCoOp (batch 1, as the original, and 8) and CoOp (batch 32).
 * Median of three runs; `spread` is (largest - smallest) / median. `npm run bench -- train-speed [--json]`
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'

const { values } = parseArgs({ options: { json: { type: 'boolean', default: false } } })
const CLI = join(import.meta.dirname, '../trainer/dist/cli.js')
const CASES = [
  { name: 'CoCoOp, 10 classes, batch 1', flags: ['--method', 'cocoop', '--epochs', '10'] },
  { name: 'CoCoOp, 10 classes, batch 8', flags: ['--method', 'cocoop', '--epochs', '20', '--batch-size', '8'] },
  { name: 'CoOp, 10 classes, batch 32', flags: ['--method', 'coop', '--epochs', '50', '--ctx-init', 'a photo of a'] },
]
const RUNS = 3

const work = mkdtempSync(join(tmpdir(), 'cocoop-bench-'))
const rows = []
try {
  for (const { name, flags } of CASES) {
    const rates = []
    for (let run = 0; run < RUNS; run++) {
      const out = join(work, `${rows.length}-${run}`)
      const args = [
        'train',
        '--data',
        'emoji-backdrops',
        '--classes',
        'base',
        ...flags,
        '--out',
        out,
        '--json',
        '--quiet',
      ]
      const { stdout } = await promisify(execFile)(process.execPath, [CLI, ...args])
      rates.push(JSON.parse(stdout).images_per_second)
    }
    rates.sort((a, b) => a - b)
    const [slow, median, fast] = [rates[0], rates[Math.floor(RUNS / 2)], rates[RUNS - 1]]
    rows.push({
      name,
      peer: null,
      ours: median,
      theirs: null,
      unit: 'images/s',
      ratio: null,
      goal: null,
      spread: (fast - slow) / median,
    })
    if (!values.json)
      console.log(
        `${name.padEnd(30)} ${median.toFixed(0).padStart(6)} images/s  (${slow.toFixed(0)} to ${fast.toFixed(0)})`,
      )
  }
} finally {
  rmSync(work, { recursive: true, force: true })
}
if (values.json) console.log(JSON.stringify(rows, null, 2))
