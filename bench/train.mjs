/**
 * Training against the original's step in PyTorch (bench/peers/train_peer.py, checked against fixtures/traj first): same cores,
 * same synthetic ViT-B/16, same class names and batch, ours through the addon's Trainer. Both sides alternate in one run, after a
 * warm-up; `ours` and `theirs` are medians, `ratio` is theirs over ours, `spread` the middle half of neighbouring runs' ratios
 * over their median. `npm run bench:peers` once, then
 * `npm run bench -- train [--json] [--rounds 5] [--case TEXT]`; `--plot` measures time against classes and batch instead and
 * writes docs/training-cost.json and .svg.
 */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { measure } from './lib/cost.mjs'
import { alternate, compare, inTurn } from './lib/measure.mjs'
import { answering } from './lib/peer.mjs'
import { openModel, tokens, training } from './lib/trainer.mjs'
import { folder, PHOTOS } from './peers/where.mjs'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    plot: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    case: { type: 'string', default: '' },
  },
})
const rounds = Number(values.rounds)
const THREADS = String(availableParallelism())
const MODEL = join(folder, 'vit-b-16')
const WEIGHTS = join(MODEL, 'model.safetensors')
const PYTHON = join(folder, 'venv/bin/python')
const PEER = join(import.meta.dirname, 'peers/train_peer.py')

if (!existsSync(WEIGHTS) || !existsSync(PHOTOS.folder)) {
  console.error('the peers are not set up: npm run bench:peers')
  process.exit(2)
}

const cocoop = (classes, batch) => ({ classes, batch, n_ctx: 4, conditional: true })
const coop = (classes, batch) => ({ classes, batch, n_ctx: 16, conditional: false })
/**
 * Each is three rows: the image encoded in the step; ours on cached views, of which the original has none; and a stand-in for it that
 * is given features as well, beyond what was asked.
 */
const CASES = [
  { name: 'CoCoOp step, 50 classes, batch 1', of: cocoop(50, 1), goals: [9, 18] },
  { name: 'CoCoOp step per image, 50 classes, batch 8', of: cocoop(50, 8), goals: [9, 18] },
  { name: 'CoCoOp step, 500 classes, batch 1', of: cocoop(500, 1), goals: [12, 15] },
  { name: 'CoOp step, 50 classes, batch 32, M=16', of: coop(50, 32), goals: [1.4, 25] },
]
/** What PyTorch keeps of a row of the text tower for backward, bytes, as measured: a step that does not fit is not tried. */
const BYTES_PER_ROW = 12 * 512 * 4 * 21

let model
let steps
/** One step of PyTorch: its milliseconds. Each case has a process of its own, as what a large one allocated stays with it. */
async function theirStep(of) {
  steps ??= await answering(PYTHON, [PEER, 'steps', THREADS, WEIGHTS])
  return (await steps({ ...of, ids: tokens(of) })).ms
}

async function endPeer() {
  await steps?.end()
  steps = undefined
}

async function ourStep(of) {
  model ??= await openModel(MODEL)
  return (await training(model, of)).step
}

/** Bytes that PyTorch's step takes beside the model, about. */
function theirBytes({ classes, batch, conditional }) {
  return 1e9 + classes * 77 * (conditional ? batch : 1) * BYTES_PER_ROW
}

/** Bytes that could be taken now. */
function availableBytes() {
  const file = '/proc/meminfo'
  if (!existsSync(file)) return totalmem() / 2
  return Number(/MemAvailable:\s+(\d+)/.exec(readFileSync(file, 'utf8'))?.[1] ?? 0) * 1024
}

const rows = []
const wanted = (name) => name.includes(values.case)
const MEMORY = 'peak memory over the weights, CoCoOp, 50 classes, batch 1'
const LARGE = 'peak memory, CoCoOp, 1000 classes, batch 4'
const VIEWS = 'decode and augment 500x375 JPEG'

await check()
const fits = async (of) => {
  await endPeer()
  return theirBytes(of) < availableBytes()
}
if (values.plot) await measure({ ourStep, theirStep, fits, say })
else {
  for (const { name, of, goals } of CASES.filter(({ name }) => wanted(name))) await stepRows(name, of, goals)
  await endPeer()
  if (wanted(VIEWS)) await viewsRow()
  if (wanted(MEMORY)) await memoryRow()
  if (wanted(LARGE)) await largeRow()
  if (values.json) console.log(JSON.stringify(rows, null, 2))
}
process.exit(0)

/** The peer must be the original: its runs are those of fixtures/traj, or nothing is measured. */
async function check() {
  const { stdout } = await promisify(execFile)(PYTHON, [PEER, 'check'])
  const { check, limit } = JSON.parse(stdout)
  const worst = Math.max(...Object.values(check))
  say(
    `PyTorch's steps repeat ${Object.keys(check).length} runs of fixtures/traj within ${worst.toExponential(1)} (limit ${limit})`,
  )
}

async function stepRows(name, of, [inStep, cached]) {
  await endPeer()
  const [needed, there] = [theirBytes(of), availableBytes()]
  if (needed > there) {
    say(`${name}: left out, PyTorch would take about ${gigabytes(needed)} and ${gigabytes(there)} are free`)
    return
  }
  const per = of.conditional ? of.batch : 1
  const cases = [true, false].map((encode) => ({ ...of, encode }))
  const ours = []
  for (const one of cases) ours.push(await ourStep(one))
  const sides = [...ours, ...cases.map((one) => () => theirStep(one))].map((run) => async () => (await run()) / per)
  const [oursAnew, oursCached, theirsAnew, theirsCached] = await inTurn(sides, rounds)
  const row = { peer: 'PyTorch', unit: 'ms' }
  report({ ...row, name: `${name}, image encoded in step`, goal: inStep, ...compare(oursAnew, theirsAnew) })
  report({ ...row, name: `${name}, cached views`, goal: cached, ...compare(oursCached, theirsAnew) })
  const both = 'features given to PyTorch, too'
  report({ ...row, name: `${name}, cached views, ${both}`, goal: null, ...compare(oursCached, theirsCached) })
}

async function viewsRow() {
  await promisify(execFile)('cargo', ['build', '--release', '--quiet', '-p', 'cocoop-core', '--example', 'views'])
  const example = ['run', '--release', '--quiet', '-p', 'cocoop-core', '--example', 'views', '--', PHOTOS.folder]
  const [ours, theirs] = [
    await answering('cargo', example),
    await answering(PYTHON, [PEER, 'views', THREADS, PHOTOS.folder]),
  ]
  const times = await alternate(
    async () => (await ours({})).ms / PHOTOS.count,
    async () => (await theirs({})).ms / PHOTOS.count,
    3 * rounds,
  )
  for (const side of [ours, theirs]) await side.end()
  report({ name: `${VIEWS}, all cores`, peer: 'torchvision, Pillow', unit: 'ms', goal: 1.5, ...times })
}

/** Fresh processes, each with this one case; what the weights take is on neither side. */
async function memoryRow() {
  const of = { ...cocoop(50, 1), encode: true }
  const weights = readFileSync(WEIGHTS).length
  const [ours, theirs] = [[], []]
  for (let round = 0; round < Math.min(rounds, 3); round++) {
    ours.push((await ourPeak(of)) - weights)
    const peer = await answering(PYTHON, [PEER, 'steps', THREADS, WEIGHTS])
    const command = { ...of, ids: tokens(of) }
    await peer(command)
    theirs.push((await peer(command)).bytes - weights)
    await peer.end()
  }
  const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1] / 1e6
  const ratios = ours.map((bytes, i) => theirs[i] / bytes).sort((a, b) => a - b)
  const [our, their] = [median(ours), median(theirs)]
  const spread = (ratios[ratios.length - 1] - ratios[0]) / (their / our)
  report({ name: MEMORY, peer: 'PyTorch', unit: 'MB', goal: 8, ours: our, theirs: their, ratio: their / our, spread })
}

/** The whole process, weights included; `goal` is in GB and an upper bound. PyTorch would take some 100 GB. */
async function largeRow() {
  const ours = (await ourPeak({ ...cocoop(1000, 4), encode: true })) / 1e9
  report({ name: LARGE, peer: null, unit: 'GB', goal: 6, ours, theirs: null, ratio: null, spread: 0 })
}

/** Largest resident size of a process that trains two epochs of this case, bytes. */
async function ourPeak(of) {
  const script = join(import.meta.dirname, 'lib/trainer-memory.mjs')
  const { stdout } = await promisify(execFile)(process.execPath, [script, MODEL, JSON.stringify(of)])
  return JSON.parse(stdout).bytes
}

function report(row) {
  rows.push(row)
  const { name, ours, theirs, ratio, unit, goal, spread } = row
  const figure = (x) => `${x.toFixed(unit === 'GB' || x < 10 ? 2 : 0)} ${unit}`
  const beside =
    theirs === null
      ? `at most ${goal}`
      : `${figure(theirs)}   x ${ratio.toFixed(2)} (spread ${Math.round(spread * 100)} %), ${goal === null ? 'no goal' : `goal ${goal}`}`
  say(`${name.padEnd(88)} ${figure(ours).padStart(10)}   ${beside}`)
}

function gigabytes(bytes) {
  return `${(bytes / 1e9).toFixed(1)} GB`
}

/** Progress, and without --json the result. */
function say(line) {
  if (values.json) console.error(line)
  else console.log(line)
}
