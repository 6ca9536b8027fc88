/**
 * Which learning rate CoCoOp wants at batches above the original's 1: base, new and H on the embedded data over three seeds for
 * lr = 0.002 x {1, sqrt(b), b}. The rest is the original's: 16 shots, 10 epochs, "a photo of a", random crop and flip.
 * `npm run bench -- lr-rule [--json] [--seeds 1,2,3] [--sets ...] [--batches 1,4,8,16]`
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    seeds: { type: 'string', default: '1,2,3' },
    sets: { type: 'string', default: 'emoji-backdrops,emoji-kinds' },
    batches: { type: 'string', default: '1,4,8,16' },
  },
})
const CLI = join(import.meta.dirname, '../trainer/dist/cli.js')
const LR = 0.002
const RULES = { constant: () => 1, root: Math.sqrt, linear: (batch) => batch }

const work = mkdtempSync(join(tmpdir(), 'cocoop-bench-'))
const rows = []
try {
  for (const set of values.sets.split(',')) {
    for (const batch of values.batches.split(',').map(Number)) {
      // At batch 1 the three rules are one.
      for (const rule of batch === 1 ? ['constant'] : Object.keys(RULES)) {
        const lr = Number((LR * RULES[rule](batch)).toPrecision(4))
        const runs = []
        for (const seed of values.seeds.split(',')) runs.push(await learned(set, batch, lr, seed))
        const found = rowsOf(`${set} batch ${batch} lr ${lr} (${rule})`, runs)
        rows.push(...found)
        if (!values.json) print(`${set} batch ${batch} lr ${lr} (${rule})`, found)
      }
    }
  }
} finally {
  rmSync(work, { recursive: true, force: true })
}
if (values.json) console.log(JSON.stringify(rows, null, 2))

/** [base, new] accuracy, the last epoch's loss. */
async function learned(set, batch, lr, seed) {
  const out = join(work, `${set}-${batch}-${lr}-${seed}`)
  const spec = ['--method', 'cocoop', '--classes', 'base', '--shots', '16', '--epochs', '10', '--augment', 'crop-flip']
  const flags = ['--data', set, '--batch-size', String(batch), '--lr', String(lr), '--seed', seed, '--out', out]
  const args = [CLI, 'train', ...spec, ...flags, '--json', '--quiet']
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 2 ** 26 })
  const { metrics, loss } = JSON.parse(stdout)
  return { base: metrics.base.accuracy, new: metrics.new.accuracy, loss }
}

/** H is that of the averaged base and new, as in the papers. `spread`: largest minus smallest seed. */
function rowsOf(name, runs) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length
  const harmonic = (a, b) => (2 * a * b) / (a + b)
  const columns = {
    base: runs.map(({ base }) => base),
    new: runs.map((run) => run.new),
    H: runs.map((run) => harmonic(run.base, run.new)),
    loss: runs.map(({ loss }) => loss),
  }
  return Object.entries(columns).map(([what, seeds]) => ({
    name: `${name} ${what}`,
    peer: null,
    ours: round(what === 'H' ? harmonic(mean(columns.base), mean(columns.new)) : mean(seeds)),
    theirs: null,
    unit: what === 'loss' ? 'nats' : '% accuracy',
    ratio: null,
    goal: null,
    spread: round(Math.max(...seeds) - Math.min(...seeds)),
  }))
}

function print(name, found) {
  const cells = found.map(({ ours, spread }, i) => `${ours.toFixed(i < 3 ? 1 : 3)} (${spread.toFixed(i < 3 ? 1 : 3)})`)
  console.log(`${name.padEnd(46)} base ${cells[0]}  new ${cells[1]}  H ${cells[2]}  loss ${cells[3]}`)
}

function round(value) {
  return Math.round(value * 1000) / 1000
}
