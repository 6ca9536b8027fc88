/**
 * The engine against its peers: onnxruntime-web and -node, PyTorch, open_clip, on models of identical shape with synthetic weights,
 * thread counts equal. Ours and theirs alternate in one run, after a warm-up of both; `ours` and `theirs` are medians,
 * `spread` is the middle half of the ratios of neighbouring runs, over their median. Images are 224x224 PNG files for ours (decoding
 * is in our time), tensors for peers. `npm run bench:peers` once, then `npm run bench -- engine [--json] [--rounds 15] [--only TEXT]`
 */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { FsStore, nativeEngine, Pack, wasmEngine } from 'cocoop/node'
import { urls } from 'cocoop-wasm/urls'
import { alternate, timed, untrainedCoCoOp } from './lib/measure.mjs'
import { answering } from './lib/peer.mjs'
import { folder, MODELS } from './peers/where.mjs'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '15' },
    only: { type: 'string', default: '' },
  },
})
const rounds = Number(values.rounds)
const THREADS = availableParallelism()
const require = createRequire(join(import.meta.dirname, 'peers/package.json'))
const graph = (model, file) => join(folder, `${model}-onnx`, `${file}.onnx`)
const pack = (model, bits) => Pack.open(new FsStore(join(folder, `${model}-${bits}`)))
const png = readFileSync(resolve(import.meta.dirname, '../fixtures/preprocess/in/rgb_224x224.png'))

if (!existsSync(graph(Object.keys(MODELS)[1], 'vision_model-s8'))) {
  console.error('the peers are not set up: npm run bench:peers')
  process.exit(2)
}

/** One CPU has the byte dot product as one instruction, another makes it of three: the goal differs. */
const VNNI = process.platform === 'linux' && /avx_vnni|avx512_vnni/.test(readFileSync('/proc/cpuinfo', 'utf8'))

const CASES = [
  {
    name: 'ViT-B/32 image, WASM, 1 thread, f32',
    goal: 1.6,
    ours: () => wasmImage('vit-b-32', 32),
    theirs: { 'onnxruntime-web f32': () => ortImage('web', 'vit-b-32', 'vision_model', 1, 1) },
  },
  {
    name: 'ViT-B/32 image, WASM, 1 thread, int8',
    goal: VNNI ? 2 : 1.4,
    ours: () => wasmImage('vit-b-32', 8),
    theirs: {
      'onnxruntime-web u8': () => ortImage('web', 'vit-b-32', 'vision_model-u8', 1, 1),
      'onnxruntime-web s8': () => ortImage('web', 'vit-b-32', 'vision_model-s8', 1, 1),
    },
  },
  {
    name: 'ViT-B/32 image, WASM, 1 thread, 4-bit',
    ours: () => wasmImage('vit-b-32', 4),
    theirs: { 'onnxruntime-web u8': () => ortImage('web', 'vit-b-32', 'vision_model-u8', 1, 1) },
  },
  {
    name: 'CoCoOp text side, 100 classes, WASM, 1 thread, f32',
    goal: 25,
    slow: true,
    ours: () => wasmCoCoOp('vit-b-32', 32),
    theirs: { 'onnxruntime-web f32, 100 x 77': () => ortText('web', 'vit-b-32', 'text_model', 1) },
  },
  {
    name: 'CoCoOp text side, 100 classes, WASM, 1 thread, int8',
    goal: 25,
    slow: true,
    ours: () => wasmCoCoOp('vit-b-32', 8),
    theirs: {
      'onnxruntime-web u8, 100 x 77': () => ortText('web', 'vit-b-32', 'text_model-u8', 1),
      'onnxruntime-web s8, 100 x 77': () => ortText('web', 'vit-b-32', 'text_model-s8', 1),
    },
  },
  {
    name: `ViT-B/16 image, batch 8, native, ${THREADS} threads, f32`,
    goal: 1,
    ours: () => nativeImages('vit-b-16', 32, 8),
    theirs: {
      'onnxruntime-node f32': () => ortImage('node', 'vit-b-16', 'vision_model', THREADS, 8),
      PyTorch: () => torch('torch:vision-b16:8'),
      open_clip: () => torch('open_clip:vision-b16:8'),
    },
  },
  {
    name: `ViT-B/16 image, batch 8, native, ${THREADS} threads, int8`,
    goal: 1.3,
    ours: () => nativeImages('vit-b-16', 8, 8),
    theirs: {
      'onnxruntime-node u8': () => ortImage('node', 'vit-b-16', 'vision_model-u8', THREADS, 8),
      'onnxruntime-node s8': () => ortImage('node', 'vit-b-16', 'vision_model-s8', THREADS, 8),
    },
  },
  {
    name: `1000 class prompts, native, ${THREADS} threads, f32`,
    goal: 10,
    slow: true,
    ours: () => nativeTexts('vit-b-16', 32),
    theirs: {
      'PyTorch, padded': () => torch('torch:text:1000'),
      'open_clip, padded': () => torch('open_clip:text:1000'),
    },
  },
  ...[
    ['f32', 32, ''],
    ['int8', 8, '-u8'],
  ].map(([name, bits, kind]) => ({
    name: `cold start: ViT-B/32 pack from disk and first image, WASM, ${name}`,
    goal: 3,
    slow: true,
    ours: () => cold('ours', String(bits)),
    theirs: { [`onnxruntime-web ${name}`]: () => cold('theirs', graph('vit-b-32', `vision_model${kind}`)) },
  })),
]

const rows = []
let torchPeer
for (const { name, goal = null, slow = false, ours, theirs } of CASES.filter(({ name }) =>
  name.includes(values.only),
)) {
  const us = await ours()
  for (const [peer, make] of Object.entries(theirs)) {
    const them = await make()
    const times = await alternate(us.run, them.run, slow ? Math.max(3, Math.round(rounds / 4)) : rounds)
    await them.end?.()
    report({ name, peer, unit: 'ms', goal, ...times })
  }
  await us.end?.()
}
if ('engine .wasm'.includes(values.only) || !values.only) {
  const [wasm, ort] = [readFileSync(urls.relaxed), require.resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm')]
  const size = (name, ours, theirs, goal) =>
    report({ name, peer: 'onnxruntime-web', unit: 'MB', goal, ours, theirs, ratio: theirs / ours, spread: 0 })
  const theirs = readFileSync(ort)
  size('engine .wasm', wasm.length / 1e6, theirs.length / 1e6, theirs.length / 1.2e6)
  size(
    'engine .wasm, gzip',
    gzipSync(wasm).length / 1e6,
    gzipSync(theirs).length / 1e6,
    gzipSync(theirs).length / 0.6e6,
  )
  size('engine .wasm, brotli', brotliCompressSync(wasm).length / 1e6, brotliCompressSync(theirs).length / 1e6, null)
}
if (values.json) console.log(JSON.stringify(rows, null, 2))
process.exit(0)

function report(row) {
  rows.push(row)
  if (values.json) return
  const { name, peer, ours, theirs, ratio, unit, goal, spread } = row
  const [a, b] = [ours, theirs].map((x) => x.toFixed(unit === 'MB' ? 2 : 1))
  console.log(
    `${name.padEnd(62)} ${a.padStart(8)} ${unit}   ${peer.padEnd(30)} ${b.padStart(9)} ${unit}   x ${ratio.toFixed(2)} (spread ${Math.round(spread * 100)} %)${goal ? `, goal ${goal.toFixed(1)}` : ''}`,
  )
}

async function wasmImage(id, bits) {
  const model = await (await wasmEngine()).loadModel(await pack(id, bits), { towers: ['vision'] })
  return { run: timed(() => model.embedImages([png])), end: () => model[Symbol.dispose]() }
}

async function nativeImages(id, bits, batch) {
  const model = await (await nativeEngine()).loadModel(await pack(id, bits))
  const images = Array.from({ length: batch }, () => png)
  return { run: timed(() => model.embedImages(images)), end: () => model[Symbol.dispose]() }
}

/** 1000 class names of one to three tokens in "a photo of a {}.": as many rows as the zero-shot head of ImageNet has, about. */
async function nativeTexts(id, bits) {
  const model = await (await nativeEngine()).loadModel(await pack(id, bits))
  const texts = classnames(1000).map((name) => `a photo of a ${name}.`)
  return { run: timed(() => model.embedTexts(texts)), end: () => model[Symbol.dispose]() }
}

/** Scoring one image's features: the Meta-Net, and the text tower over 100 classes with a context of four vectors. */
async function wasmCoCoOp(id, bits) {
  const native = await (await nativeEngine()).loadModel(await pack(id, 32))
  const metadata = { name: 'bench', model_id: id, training: {}, metrics: {} }
  const bundle = await untrainedCoCoOp(native, classnames(100), png, metadata)
  const { features } = await native.embedImages([png])
  native[Symbol.dispose]()
  const model = await (await wasmEngine()).loadModel(await pack(id, bits), { towers: ['text'] })
  const classifier = await model.classifier(bundle)
  return {
    run: timed(() => classifier.score(features)),
    end: () => {
      classifier[Symbol.dispose]()
      model[Symbol.dispose]()
    },
  }
}

/** Names out of the words of the tokenizer's own vocabulary would be arbitrary; these are pairs of everyday ones. */
function classnames(n) {
  const kinds =
    'red,old,tall,wild,small,great,white,desert,golden,common,spotted,northern,giant,striped,wooden,plastic,metal,toy,paper,winter'.split(
      ',',
    )
  const things =
    'fox,oak,cat,owl,car,cup,lamp,lizard,piano,spider,chair,bottle,beetle,wolf,boat,bridge,tower,guitar,mushroom,pepper,hammer,kettle,ladder,mirror,needle,pigeon,rabbit,saddle,teapot,turtle,violin,walrus,camera,carpet,dragonfly,elephant,flute,goose,hamster,iguana,jacket,kayak,lemon,mitten,orange,peacock,quilt,radio,snail,tractor'.split(
      ',',
    )
  return Array.from({ length: n }, (_, i) => `${kinds[Math.floor(i / things.length)]} ${things[i % things.length]}`)
}

async function ortSession(kind, path, threads) {
  const ort = require(`onnxruntime-${kind}`)
  if (kind === 'web') ort.env.wasm.numThreads = threads
  const options =
    kind === 'web' ? { executionProviders: ['wasm'] } : { intraOpNumThreads: threads, interOpNumThreads: 1 }
  return { ort, session: await ort.InferenceSession.create(path, { ...options, logSeverityLevel: 3 }) }
}

async function ortImage(kind, id, file, threads, batch) {
  const { ort, session } = await ortSession(kind, graph(id, file), threads)
  const data = Float32Array.from({ length: batch * 3 * 224 * 224 }, (_, i) => Math.sin(i))
  const pixel_values = new ort.Tensor('float32', data, [batch, 3, 224, 224])
  return { run: timed(() => session.run({ pixel_values })), end: () => session.release() }
}

async function ortText(kind, id, file, threads) {
  const { ort, session } = await ortSession(kind, graph(id, file), threads)
  const ids = new BigInt64Array(100 * 77)
  for (let row = 0; row < 100; row++) {
    ids.set([49406n, 320n, 1125n, 539n, 320n, BigInt(1000 + row), 269n, 49407n], row * 77)
  }
  const input_ids = new ort.Tensor('int64', ids, [100, 77])
  return { run: timed(() => session.run({ input_ids })), end: () => session.release() }
}

/** One process for all cases of PyTorch and open_clip; it says how long each run took. */
async function torch(name) {
  const peer = join(import.meta.dirname, 'peers/torch_peer.py')
  torchPeer ??= await answering(join(folder, 'venv/bin/python'), [peer, String(THREADS)])
  return { run: async () => (await torchPeer(name)).ms }
}

/** A fresh process: load from disk, first image; its own clock, from the first line after imports to the features. */
function cold(side, what) {
  const script = join(import.meta.dirname, 'peers/cold.mjs')
  const run = async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [script, side, what])
    return Number(stdout.trim())
  }
  return { run }
}
