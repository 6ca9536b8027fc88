/**
 * What fewer bits cost: top-1 accuracy of zero-shot, CoOp and CoCoOp on the embedded model's packs of 16, 8 and 4 bits beside 32, over
 * the test images of the base and new classes of each embedded data set, and how alike the features are; the same cosines for
 * ViT-B/32 with synthetic weights, where `npm run bench:peers` made it. `npm run bench -- accuracy [--json]`
 */
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { FsStore, nativeEngine, Pack, subsample } from 'cocoop/node'
import { openDataset } from '../trainer/dist/datasets/open.js'
import { folder } from './peers/where.mjs'

const { values } = parseArgs({ options: { json: { type: 'boolean', default: false } } })
const CLI = join(import.meta.dirname, '../trainer/dist/cli.js')
const SETS = ['emoji-backdrops', 'emoji-kinds']
const BITS = [32, 16, 8, 4]
const TRAINED = {
  coop: ['--ctx-init', 'a photo of a', '--epochs', '50'],
  cocoop: ['--ctx-init', 'a photo of a', '--epochs', '10'],
}
/** Points of accuracy that a pack may lose. */
const MAX_DROP = { 16: 0.1, 8: 0.3, 4: 1 }
const rows = []
const work = mkdtempSync(join(tmpdir(), 'cocoop-bench-'))
try {
  const engine = await nativeEngine()
  const packs = {}
  for (const bits of BITS) {
    const out = join(work, `emoji-clip-${bits}`)
    await cli('pack', 'emoji-clip', '--bits', String(bits), '--out', out)
    packs[bits] = await engine.loadModel(await Pack.open(new FsStore(out)))
  }
  const drops = Object.fromEntries(BITS.map((bits) => [bits, []]))
  for (const set of SETS) {
    const halves = await testHalves(set)
    const images = await Promise.all(halves.flatMap(({ items }) => items.map((item) => item.read())))
    const features = {}
    for (const bits of BITS) features[bits] = (await packs[bits].embedImages(images)).features
    for (const bits of BITS.slice(1))
      report(`${set}, cosine of image features`, bits, cosines(features[32], features[bits], packs[32].info.embed_dim))
    const bundles = { 'zero-shot': undefined }
    for (const [method, flags] of Object.entries(TRAINED)) {
      const out = join(work, `${set}-${method}`)
      await cli(
        'train',
        '--data',
        set,
        '--classes',
        'base',
        '--method',
        method,
        '--shots',
        '16',
        '--seed',
        '1',
        ...flags,
        '--out',
        out,
      )
      bundles[method] = readFileSync(
        join(
          out,
          readdirSync(out).find((file) => file.endsWith('.safetensors') && !file.includes('checkpoint')),
        ),
      )
    }
    for (const [method, bundle] of Object.entries(bundles)) {
      const right = {}
      const predicted = {}
      for (const bits of BITS) {
        predicted[bits] = await predict(packs[bits], bundle, halves, features[bits])
        const labels = halves.flatMap(({ labels }) => labels)
        right[bits] = predicted[bits].map((label, i) => label === labels[i])
      }
      const accuracy = (bits) => (100 * right[bits].filter(Boolean).length) / right[bits].length
      for (const bits of BITS.slice(1)) {
        const same = predicted[bits].filter((label, i) => label === predicted[32][i]).length
        drops[bits].push([accuracy(32) - accuracy(bits), right[bits].length])
        row(`${set}, ${method}, ${bits} bits`, accuracy(bits), accuracy(32), '% accuracy', null)
        row(
          `${set}, ${method}, ${bits} bits, same top-1 as 32 bits`,
          (100 * same) / predicted[32].length,
          null,
          '%',
          null,
        )
      }
    }
  }
  for (const bits of BITS.slice(1)) {
    const images = drops[bits].reduce((sum, [, n]) => sum + n, 0)
    const mean = drops[bits].reduce((sum, [drop, n]) => sum + drop * n, 0) / images
    row(`all sets and methods, ${bits} bits: points of accuracy lost`, mean, null, 'points', MAX_DROP[bits])
  }
  for (const bits of BITS) packs[bits][Symbol.dispose]()
  if (existsSync(join(folder, 'vit-b-32-32'))) await synthetic(engine)
} finally {
  rmSync(work, { recursive: true, force: true })
}
if (values.json) console.log(JSON.stringify(rows, null, 2))

async function cli(...args) {
  await promisify(execFile)(process.execPath, [CLI, ...args, '--quiet'], { maxBuffer: 2 ** 26 })
}

/** The test images of the base and of the new classes, with labels within each half. */
async function testHalves(set) {
  const data = await openDataset(set)
  const labels = Uint32Array.from(data.test, ({ label }) => label)
  const halves = []
  for (const half of ['base', 'new']) {
    const { indices, classes } = await subsample(labels, half)
    const items = indices.map((i) => data.test[i])
    halves.push({
      items,
      labels: items.map(({ label }) => classes.indexOf(label)),
      names: classes.map((c) => data.classnames[c]),
    })
  }
  return halves
}

/** Top-1 of each image among the classes of its half; without a bundle by "a photo of a {}.". */
async function predict(model, bundle, halves, features) {
  const { embed_dim } = model.info
  const predicted = []
  let first = 0
  for (const { items, names } of halves) {
    const metadata = { name: 'bench', model_id: 'emoji-clip', training: {}, metrics: {} }
    const own = bundle ?? (await model.zeroShotBundle({ classnames: names, templates: ['a photo of a {}.'], metadata }))
    const classifier = await model.classifier(own, { classnames: names })
    const { probs } = await classifier.score(features.slice(first * embed_dim, (first + items.length) * embed_dim))
    for (let i = 0; i < items.length; i++) {
      const some = probs.subarray(i * names.length, (i + 1) * names.length)
      predicted.push(some.indexOf(Math.max(...some)))
    }
    first += items.length
    classifier[Symbol.dispose]()
  }
  return predicted
}

/** Image and text features of ViT-B/32 at fewer bits against 32. */
async function synthetic(engine) {
  const inputs = resolve(import.meta.dirname, '../fixtures/preprocess/in')
  const images = readdirSync(inputs).filter((file) => file.startsWith('rgb_') || file.startsWith('jpeg_'))
  const files = images.map((file) => readFileSync(join(inputs, file)))
  const texts = ['fox', 'oak tree', 'red car', 'old lamp', 'lizard on a wall'].map((name) => `a photo of a ${name}.`)
  const features = {}
  for (const bits of [32, 8, 4]) {
    const model = await engine.loadModel(await Pack.open(new FsStore(join(folder, `vit-b-32-${bits}`))))
    features[bits] = { image: (await model.embedImages(files)).features, text: await model.embedTexts(texts) }
    model[Symbol.dispose]()
  }
  for (const bits of [8, 4]) {
    for (const what of ['image', 'text']) {
      const alike = cosines(features[32][what], features[bits][what], features[32].text.length / texts.length)
      report(`ViT-B/32, synthetic weights, cosine of ${what} features`, bits, alike)
    }
  }
}

/** Cosine of each pair of normalised rows. */
function cosines(a, b, width) {
  return Array.from({ length: a.length / width }, (_, row) => {
    let sum = 0
    for (let i = row * width; i < (row + 1) * width; i++) sum += a[i] * b[i]
    return sum
  })
}

function report(name, bits, alike) {
  row(`${name}, ${bits} bits, mean`, alike.reduce((sum, x) => sum + x, 0) / alike.length, null, 'cosine', null)
  row(`${name}, ${bits} bits, smallest`, Math.min(...alike), null, 'cosine', null)
}

function row(name, ours, theirs, unit, goal) {
  const peer = theirs === null ? null : '32 bits'
  rows.push({ name, peer, ours, theirs, unit, ratio: theirs === null ? null : ours / theirs, goal, spread: null })
  if (!values.json)
    console.log(
      `${name.padEnd(76)} ${ours.toFixed(unit === 'cosine' ? 5 : 2).padStart(8)} ${unit}${theirs === null ? '' : `   at 32 bits ${theirs.toFixed(2)}`}${goal === null ? '' : `   at most ${goal}`}`,
    )
}
