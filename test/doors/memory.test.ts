/**
 * The whole of ViT-B/32 in an isolate's memory: a 4-bit pack with both towers, a CoCoOp bundle of 20 classes and a 12-megapixel
 * JPEG, in one WASM memory, which only grows: what it ends with is the peak. Cloudflare gives an isolate 128 MB.
 */
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Classifier, FsStore, nativeEngine, Pack, wasmEngine } from 'cocoop/node'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { SPEC } from '../support/material.ts'
import { writeSyntheticB32 } from '../support/synthetic.ts'

const LIMIT = 110_000_000
/** Numbers per feature vector of ViT-B/32. */
const EMBED = 512
const PICTURES = new URL('../../fixtures/preprocess/in/', import.meta.url)
const folder = await mkdtemp(join(tmpdir(), 'cocoop-memory-'))
let pack: Pack
let bundle: Uint8Array

beforeAll(async () => {
  const path = join(folder, 'model.safetensors')
  await writeSyntheticB32(path)
  using model = await (await nativeEngine()).loadModel({ weights: await readFile(path), config: '' })
  await model.writePack(join(folder, 'pack'), { id: 'synthetic-b32', bits: 4, towers: ['vision', 'text'] }, () => {})
  pack = await Pack.open(new FsStore(join(folder, 'pack')))
  const classnames = Array.from({ length: 20 }, (_, i) => `thing number ${i}`)
  const picture = await readFile(new URL('small_32x32.png', PICTURES))
  using packed = await (await nativeEngine()).loadModel(pack)
  const trainer = await packed.trainer(
    { ...SPEC, method: 'cocoop', batch_size: 1, classnames },
    [picture],
    Uint32Array.of(0),
  )
  bundle = await trainer.bundle({ name: 'memory', model_id: 'synthetic-b32', training: {}, metrics: {} })
})
afterAll(() => rm(folder, { recursive: true }))

it('takes at most 110 MB', async () => {
  const jpeg = await readFile(new URL('jpeg_12mp_4032x3024.jpg', PICTURES))
  const engine = await wasmEngine()
  const { vision, text } = pack.manifest.towers
  await using classifier = await Classifier.load(pack, bundle, { engine, maxMemoryBytes: LIMIT })
  const loaded = engine.memory.buffer.byteLength
  const { predictions } = await classifier.classify(jpeg, { topK: 20 })
  const peak = engine.memory.buffer.byteLength
  console.log(`vision ${vision}, text ${text}; loaded ${loaded}, peak ${peak} bytes`)
  expect(peak).toBeLessThanOrEqual(LIMIT)
  expect((await stat(join(folder, 'pack', 'vision-0.bin'))).size).toBeLessThanOrEqual(24 * 1024 * 1024)
  expect(predictions.map(({ cosine }) => cosine).filter(Number.isFinite)).toHaveLength(20)
})

// The memory is small because nothing is held twice, not because anything is left out: the same pack, mapped by the addon, says
// the same. Quantisation rounds an activation on the border of two of its steps either way, as the last bit of the f32 sums
// before it has it, and these differ between instruction sets: features of one input have a cosine of 0.9993 and more.
// Those of two pictures here have at most 0.975, of two texts at most 0.941.
it('computes what the addon computes', async () => {
  const pictures = await Promise.all(
    ['jpeg_12mp_4032x3024.jpg', 'jpeg_640x427_q90.jpg'].map((file) => readFile(new URL(file, PICTURES))),
  )
  const texts = ['thing number 0', 'thing number 1']
  const [ours, theirs] = await Promise.all(
    [await wasmEngine(), await nativeEngine()].map(async (engine) => {
      using model = await engine.loadModel(pack)
      return [...rows((await model.embedImages(pictures)).features), ...rows(await model.embedTexts(texts))]
    }),
  )
  for (const [i, mine] of (ours as Float32Array[]).entries()) {
    expect(dot(mine, theirs?.[i] as Float32Array)).toBeGreaterThan(0.998)
    expect(dot(mine, theirs?.[i ^ 1] as Float32Array)).toBeLessThan(0.99)
  }
})

/** The unit feature vectors of `features`. */
function rows(features: Float32Array): Float32Array[] {
  return Array.from({ length: features.length / EMBED }, (_, i) => features.subarray(i * EMBED, (i + 1) * EMBED))
}

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, x, i) => sum + x * (b[i] as number), 0)
