/**
 * `Classifier.classify` of one picture by our engines and by `cocoop/onnx`, on the same model and bundles: WASM on one thread
 * against onnxruntime-web, the addon against onnxruntime-node on as many threads (where `npm run bench:peers` installed it).
 * Decoding is in all times. Runs alternate; figures are medians, `spread` the middle half of the ratios over their median.
 * `npm run bench -- onnx [--json] [--model DIR] [--runs 15]`
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { Classifier, nativeEngine, wasmEngine } from 'cocoop'
import { createOnnxEngine } from 'cocoop/onnx'
import * as web from 'onnxruntime-web/wasm'

const root = resolve(import.meta.dirname, '..')
const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    model: { type: 'string', default: join(root, 'models/emoji-clip') },
    runs: { type: 'string', default: '15' },
  },
})
web.env.wasm.numThreads = 1
const files = {
  weights: readFileSync(join(values.model, 'model.safetensors')),
  config: readFileSync(join(values.model, 'config.json'), 'utf8'),
}
const picture = readFileSync(join(root, 'fixtures/preprocess/in/jpeg_640x427_q90.jpg'))
const classnames = 'black blue red green white grey brown pink orange yellow'
  .split(' ')
  .flatMap((colour) => [colour, `dark ${colour}`])

const native = await (await nativeEngine()).loadModel(files)
const about = { name: 'bench', model_id: basename(values.model), training: {}, metrics: {} }
const bundles = {
  'zero-shot': await native.zeroShotBundle({ classnames, templates: ['a photo of a {} thing.'], metadata: about }),
  cocoop: await learned(),
}
const pairs = [{ name: 'WASM, 1 thread', peer: 'onnxruntime-web', ours: await wasmEngine(), ort: web }]
try {
  const ort = createRequire(join(root, 'bench/peers/package.json'))('onnxruntime-node')
  pairs.push({ name: 'native', peer: 'onnxruntime-node', ours: await nativeEngine(), ort })
} catch (error) {
  console.error(`without onnxruntime-node: ${error.message.split('\n')[0]}`)
}

const rows = []
for (const { name, peer, ours, ort } of pairs) {
  using ourModel = await ours.loadModel(files)
  using theirModel = await (await createOnnxEngine({ ort })).loadModel(files)
  for (const [method, bundle] of Object.entries(bundles)) {
    await using a = await Classifier.load(ourModel, bundle)
    await using b = await Classifier.load(theirModel, bundle)
    report({ name: `${method}, ${classnames.length} classes, ${name}`, peer, ...(await alternate(a, b)) })
  }
}
if (values.json) console.log(JSON.stringify(rows, null, 2))
process.exit(0) // the runtimes keep threads

/** CoCoOp as it starts: how long it takes does not depend on what was learned. */
async function learned() {
  const spec = {
    method: 'cocoop',
    classnames,
    n_ctx: 4,
    ctx_init: 'a photo of a',
    csc: false,
    class_token_position: 'end',
    epochs: 1,
    batch_size: 1,
    lr: 0.002,
    momentum: 0.9,
    weight_decay: 5e-4,
    warmup_epochs: 0,
    warmup_lr: 1e-5,
    augment: 'none',
    seed: 1,
  }
  return await (await native.trainer(spec, [picture], Uint32Array.of(0))).bundle(about)
}

async function alternate(a, b) {
  const timed = async (classifier) => {
    const start = performance.now()
    await classifier.classify(picture)
    return performance.now() - start
  }
  const [ours, theirs] = [[], []]
  await timed(a)
  await timed(b)
  for (let run = 0; run < Number(values.runs); run++) {
    ours.push(await timed(a))
    theirs.push(await timed(b))
  }
  const at = (list, share) => [...list].sort((x, y) => x - y)[Math.floor((list.length - 1) * share)]
  const ratios = ours.map((time, i) => theirs[i] / time)
  const [us, them] = [at(ours, 0.5), at(theirs, 0.5)]
  return { ours: us, theirs: them, ratio: them / us, spread: (at(ratios, 0.75) - at(ratios, 0.25)) / at(ratios, 0.5) }
}

function report(row) {
  rows.push({ ...row, unit: 'ms', goal: null })
  if (values.json) return
  const { name, peer, ours, theirs, ratio, spread } = row
  console.log(
    `${name.padEnd(40)} ${ours.toFixed(1).padStart(7)} ms   ${peer.padEnd(18)} ${theirs.toFixed(1).padStart(7)} ms   x ${ratio.toFixed(2)} (spread ${Math.round(100 * spread)} %)`,
  )
}
