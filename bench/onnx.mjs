/**
 * `Classifier.classify` of one picture by our engines and by `cocoop/onnx`, on the same model and bundles: WASM on one thread
 * against onnxruntime-web, the addon against onnxruntime-node on as many threads (where `npm run bench:peers` installed it).
 * Decoding is in all times. Runs alternate; figures are medians, `spread` the middle half of the ratios over their median.
 * `npm run bench -- onnx [--json] [--model DIR] [--runs 15]`
 */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { Classifier, nativeEngine, wasmEngine } from 'cocoop'
import { createOnnxEngine } from 'cocoop/onnx'
import * as web from 'onnxruntime-web/wasm'
import { alternate, timed, untrainedCoCoOp } from './lib/measure.mjs'

const root = resolve(import.meta.dirname, '..')
const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    model: { type: 'string', default: join(root, 'models/emoji-clip') },
    runs: { type: 'string', default: '15' },
  },
})
web.env.wasm.numThreads = 1
const config = join(values.model, 'config.json')
const files = {
  weights: readFileSync(join(values.model, 'model.safetensors')),
  config: existsSync(config) ? readFileSync(config, 'utf8') : '', // OpenAI's own files have none
}
const picture = readFileSync(join(root, 'fixtures/preprocess/in/jpeg_640x427_q90.jpg'))
const classnames = 'black blue red green white grey brown pink orange yellow'
  .split(' ')
  .flatMap((colour) => [colour, `dark ${colour}`])

const native = await (await nativeEngine()).loadModel(files)
const about = { name: 'bench', model_id: basename(values.model), training: {}, metrics: {} }
const bundles = {
  'zero-shot': await native.zeroShotBundle({ classnames, templates: ['a photo of a {} thing.'], metadata: about }),
  cocoop: await untrainedCoCoOp(native, classnames, picture, about),
}
const pairs = [{ name: 'WASM, 1 thread', peer: 'onnxruntime-web', ours: await wasmEngine(), ort: web }]
try {
  const ort = createRequire(join(root, 'bench/peers/package.json'))('onnxruntime-node')
  pairs.push({ name: 'native', peer: 'onnxruntime-node', ours: await nativeEngine(), ort })
} catch (error) {
  console.error(`without onnxruntime-node: ${error.message.split('\n')[0]}`)
}

const classify = (classifier) => timed(() => classifier.classify(picture))
const rows = []
for (const { name, peer, ours, ort } of pairs) {
  using ourModel = await ours.loadModel(files)
  using theirModel = await (await createOnnxEngine({ ort })).loadModel(files)
  for (const [method, bundle] of Object.entries(bundles)) {
    await using a = await Classifier.load(ourModel, bundle)
    await using b = await Classifier.load(theirModel, bundle)
    report({
      name: `${method}, ${classnames.length} classes, ${name}`,
      peer,
      ...(await alternate(classify(a), classify(b), Number(values.runs))),
    })
  }
}
if (values.json) console.log(JSON.stringify(rows, null, 2))
process.exit(0) // the runtimes keep threads

function report(row) {
  rows.push({ ...row, unit: 'ms', goal: null })
  if (values.json) return
  const { name, peer, ours, theirs, ratio, spread } = row
  console.log(
    `${name.padEnd(40)} ${ours.toFixed(1).padStart(7)} ms   ${peer.padEnd(18)} ${theirs.toFixed(1).padStart(7)} ms   x ${ratio.toFixed(2)} (spread ${Math.round(100 * spread)} %)`,
  )
}
