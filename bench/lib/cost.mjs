/** How long a CoCoOp step takes as classes and batch grow, ours and PyTorch's, drawn side by side on logarithmic axes. */
import { writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { alternate } from './measure.mjs'

const docs = resolve(import.meta.dirname, '../../docs')
const CLASSES = [10, 20, 50, 100, 200, 500, 1000]
const BATCHES = [1, 2, 4, 8, 16, 32]
/** Rounds of a point; of one whose step is as many prompts as 400 classes, a single one. */
const [ROUNDS, LARGE] = [3, 400]

/** Measures every point and writes docs/training-cost.json and .svg. PyTorch's points that do not fit into memory are null. */
export async function measure({ ourStep, theirStep, fits, say }) {
  const point = async (classes, batch) => {
    const of = { classes, batch, n_ctx: 4, conditional: true, encode: false }
    const rounds = classes * batch < LARGE ? ROUNDS : 1
    const ours = await ourStep(of)
    let times
    if (await fits(of)) times = await alternate(ours, () => theirStep(of), rounds)
    else {
      const runs = []
      for (let round = 0; round <= rounds; round++) runs.push(await ours())
      times = { ours: runs.slice(1).sort((a, b) => a - b)[rounds >> 1], theirs: null }
    }
    const [our, their] = [times.ours, times.theirs].map((ms) => ms && Math.round(ms * 10) / 10)
    say(`${classes} classes, batch ${batch}: ${our} ms, PyTorch ${their ?? 'does not fit into memory'}`)
    return { classes, batch, ours: our, theirs: their }
  }
  const data = {
    what: 'CoCoOp, one step, ViT-B/16, 4 context vectors, cached views, milliseconds; null: did not fit into memory',
    threads: availableParallelism(),
    by_classes: [],
    by_batch: [],
  }
  for (const classes of CLASSES) data.by_classes.push(await point(classes, 1))
  for (const batch of BATCHES) data.by_batch.push(await point(50, batch))
  writeFileSync(join(docs, 'training-cost.json'), `${JSON.stringify(data, null, 2)}\n`)
  writeFileSync(join(docs, 'training-cost.svg'), draw(data))
}

const PANEL = { width: 380, height: 300, left: 76, top: 44, right: 16, bottom: 46 }

/** Two panels: against the classes at batch 1, against the batch at 50 classes. */
function draw({ by_classes, by_batch, threads }) {
  const panels = [
    panel(0, by_classes, ({ classes }) => classes, 'classes, batch 1'),
    panel(PANEL.width, by_batch, ({ batch }) => batch, 'images in a step, 50 classes'),
  ]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${2 * PANEL.width} ${PANEL.height}" font-family="sans-serif" font-size="12">
<title>Time of a CoCoOp step against classes and batch, cocoop and PyTorch</title>
<rect width="100%" height="100%" fill="#fff"/>
<text x="16" y="20" font-size="14">Milliseconds of one CoCoOp step, ViT-B/16, cached views, ${threads} threads</text>
${panels.join('\n')}
</svg>
`
}

function panel(x0, points, at, label) {
  const [left, right] = [x0 + PANEL.left, x0 + PANEL.width - PANEL.right]
  const [top, bottom] = [PANEL.top, PANEL.height - PANEL.bottom]
  const xs = points.map(at)
  const times = points.flatMap(({ ours, theirs }) => (theirs === null ? [ours] : [ours, theirs]))
  const [low, high] = [
    10 ** Math.floor(Math.log10(Math.min(...times))),
    10 ** Math.ceil(Math.log10(Math.max(...times))),
  ]
  const x = (v) => (left + (right - left) * share(v, xs[0], xs[xs.length - 1])).toFixed(1)
  const y = (v) => (bottom - (bottom - top) * share(v, low, high)).toFixed(1)
  const parts = []
  for (let ms = low; ms <= high; ms *= 10) {
    parts.push(`<line x1="${left}" x2="${right}" y1="${y(ms)}" y2="${y(ms)}" stroke="#ddd"/>`)
    parts.push(`<text x="${left - 6}" y="${Number(y(ms)) + 4}" text-anchor="end">${ms.toLocaleString('en')}</text>`)
  }
  for (const v of xs) parts.push(`<text x="${x(v)}" y="${bottom + 18}" text-anchor="middle">${v}</text>`)
  parts.push(`<text x="${(left + right) / 2}" y="${bottom + 38}" text-anchor="middle">${label}</text>`)
  for (const [side, name, color] of [
    ['ours', 'cocoop', '#1664c0'],
    ['theirs', 'PyTorch, the original’s step', '#c0571a'],
  ]) {
    const there = points.filter((point) => point[side] !== null)
    const line = there.map((point) => `${x(at(point))},${y(point[side])}`)
    parts.push(`<polyline points="${line.join(' ')}" fill="none" stroke="${color}" stroke-width="2"/>`)
    for (const xy of line) {
      const [cx, cy] = xy.split(',')
      parts.push(`<circle cx="${cx}" cy="${cy}" r="3.5" fill="${color}"/>`)
    }
    const [last] = there.slice(-1)
    if (last === undefined) continue
    const [cx, cy] = [x(at(last)), (Number(y(last[side])) - 10).toFixed(1)]
    parts.push(`<text x="${cx}" y="${cy}" text-anchor="end" fill="${color}">${name}</text>`)
  }
  return parts.join('\n')
}

/** Where `v` lies between two values, on a logarithmic axis. */
function share(v, from, to) {
  return Math.log(v / from) / Math.log(to / from)
}
