/**
 * One cold start, timed from an empty process after Node.js itself is up: import the library, load ViT-B/32 from disk, first image.
 * `node cold.mjs ours BITS` or `node cold.mjs theirs FILE.onnx`; prints milliseconds.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { folder } from './where.mjs'

const [side, what] = process.argv.slice(2)
const start = performance.now()
if (side === 'ours') {
  const { FsStore, Pack, wasmEngine } = await import('cocoop/node')
  const png = readFileSync(resolve(import.meta.dirname, '../../fixtures/preprocess/in/rgb_224x224.png'))
  const pack = await Pack.open(new FsStore(join(folder, `vit-b-32-${what}`)))
  const model = await (await wasmEngine()).loadModel(pack, { towers: ['vision'] })
  await model.embedImages([png])
} else {
  const ort = createRequire(import.meta.url)('onnxruntime-web')
  ort.env.wasm.numThreads = 1
  const session = await ort.InferenceSession.create(what, { executionProviders: ['wasm'], logSeverityLevel: 3 })
  const pixels = Float32Array.from({ length: 3 * 224 * 224 }, (_, i) => Math.sin(i))
  await session.run({ pixel_values: new ort.Tensor('float32', pixels, [1, 3, 224, 224]) })
}
console.log(performance.now() - start)
process.exit(0)
