/**
 * Base, new and H of zero-shot CLIP, CoOp and CoCoOp on the embedded data, beside the figures of the original PyTorch code.
 * The settings are those of data/README.md: 16 shots, context from "a photo of a", CoOp 50 epochs of batch 32, CoCoOp 10 of batch 1.
 * `npm run bench -- results [--json] [--seeds 1,2,3] [--sets emoji-backdrops,emoji-kinds]`
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
  },
})
const seeds = values.seeds.split(',').map(Number)
const CLI = join(import.meta.dirname, '../trainer/dist/cli.js')

/** data/README.md, "Known figures": base, new, H by the original code in f32, means over these seeds. */
const ORIGINAL = {
  'emoji-backdrops': {
    seeds: '1-3',
    'zero-shot': [10.3, 8.5, 9.3],
    coop: [85.2, 84.0, 84.6],
    cocoop: [85.0, 82.3, 83.6],
  },
  'emoji-kinds': { seeds: '1', 'zero-shot': [68.7, 78.8, 73.4], coop: [63.4, 71.2, 67.0], cocoop: [67.2, 74.7, 70.7] },
}
/** A half holds 320 to 480 test pictures: its accuracy is known to about so many points (95 %). */
const POINTS = 4
const EPOCHS = { coop: '50', cocoop: '10' }

const work = mkdtempSync(join(tmpdir(), 'cocoop-bench-'))
const rows = []
try {
  for (const set of values.sets.split(',')) {
    for (const method of ['zero-shot', 'coop', 'cocoop']) {
      // Without learning there is nothing random.
      const runs = method === 'zero-shot' ? [await zeroShot(set)] : []
      for (const seed of runs.length ? [] : seeds) runs.push(await learned(set, method, seed))
      rows.push(...rowsOf(set, method, runs))
      if (!values.json) print(rows.slice(-3))
    }
  }
} finally {
  rmSync(work, { recursive: true, force: true })
}
if (values.json) console.log(JSON.stringify(rows, null, 2))

async function cocoopTrain(...args) {
  const { stdout } = await promisify(execFile)(process.execPath, [CLI, ...args, '--json', '--quiet'], {
    maxBuffer: 2 ** 26,
  })
  return JSON.parse(stdout)
}

async function zeroShot(set) {
  const [base, fresh] = [
    await cocoopTrain('zero-shot', '--data', set, '--classes', 'base'),
    await cocoopTrain('zero-shot', '--data', set, '--classes', 'new'),
  ]
  return [base.accuracy, fresh.accuracy]
}

async function learned(set, method, seed) {
  const flags = ['--classes', 'base', '--shots', '16', '--ctx-init', 'a photo of a', '--epochs', EPOCHS[method]]
  const out = join(work, `${set}-${method}-${seed}`)
  const { metrics } = await cocoopTrain(
    'train',
    '--data',
    set,
    '--method',
    method,
    '--seed',
    String(seed),
    ...flags,
    '--out',
    out,
  )
  return [metrics.base.accuracy, metrics.new.accuracy]
}

/** H is that of the averaged base and new, as in the papers. `spread`: largest minus smallest seed, points. */
function rowsOf(set, method, runs) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length
  const harmonic = (a, b) => (2 * a * b) / (a + b)
  const [base, fresh] = [runs.map(([base]) => base), runs.map(([, fresh]) => fresh)]
  const perSeed = [base, fresh, runs.map(([a, b]) => harmonic(a, b))]
  const ours = [mean(base), mean(fresh), harmonic(mean(base), mean(fresh))]
  return ['base', 'new', 'H'].map((what, i) => {
    const theirs = ORIGINAL[set]?.[method]?.[i] ?? null
    return {
      name: `${set} ${method} ${what}`,
      peer: theirs === null ? null : `original PyTorch code, f32, seeds ${ORIGINAL[set].seeds}`,
      ours: round(ours[i]),
      theirs,
      unit: '% accuracy',
      ratio: theirs === null ? null : round(ours[i] / theirs),
      goal: theirs === null ? null : round((theirs - POINTS) / theirs),
      spread: round(Math.max(...perSeed[i]) - Math.min(...perSeed[i])),
    }
  })
}

function print(some) {
  for (const { name, ours, theirs, spread } of some) {
    console.log(
      `${name.padEnd(32)} ${ours.toFixed(1).padStart(5)}   original ${String(theirs ?? '-').padStart(5)}   spread over seeds ${spread.toFixed(1)}`,
    )
  }
}

function round(value) {
  return Math.round(value * 1000) / 1000
}
