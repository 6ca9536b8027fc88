/**
 * The traps of a re-implementation that no other test of this package sees; docs/traps.md lists all of them, with their tests.
 * They go through the addon, as a run does.
 */
import { readFile } from 'node:fs/promises'
import { fewShot, type NativeEngine, type NativeModel, nativeEngine, TEMPLATE_SETS, type TrainSpec } from 'cocoop/node'
import { beforeAll, expect, test } from 'vitest'
import { readModel, SPEC } from '../../test/support/material.ts'
import { openDataset } from './datasets/open.ts'
import { argmax, harmonicMean } from './metrics.ts'
import { readTemplates } from './templates.ts'

let engine: NativeEngine
let model: NativeModel
let weights: Map<string, Tensor>
let images: Uint8Array[]

beforeAll(async () => {
  engine = await nativeEngine()
  const files = await readModel()
  model = await engine.loadModel(files)
  weights = tensors(files.weights)
  images = await Promise.all((await openDataset('emoji-backdrops')).train.slice(0, 70).map((item) => item.read()))
}, 60_000)

interface Tensor {
  shape: number[]
  values: Float32Array | Uint32Array
}

/** Those of a safetensors file whose types a bundle and the embedded model have. */
function tensors(file: Uint8Array): Map<string, Tensor> {
  const bytes = Buffer.from(file)
  const start = 8 + Number(bytes.readBigUInt64LE())
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >
  const entries = Object.entries(header).filter(([name]) => name !== '__metadata__')
  return new Map(
    entries.map(([name, { dtype, shape, data_offsets }]) => {
      const part = Uint8Array.from(bytes.subarray(start + data_offsets[0], start + data_offsets[1])).buffer
      if (dtype === 'F16') return [name, { shape, values: Float32Array.from(new Uint16Array(part), fromHalf) }]
      return [name, { shape, values: dtype === 'U32' ? new Uint32Array(part) : new Float32Array(part) }]
    }),
  )
}

function fromHalf(half: number): number {
  const [sign, exponent, fraction] = [half >> 15, (half >> 10) & 31, half & 1023]
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25)
  return sign === 0 ? size : -size
}

const TABLE = 'text_model.embeddings.token_embedding'

/** The model's own embeddings of a text's tokens, without positions. */
function embeddings(text: string): number[] {
  const [ids, table] = [weights.get(`${TABLE}.ids`), weights.get(`${TABLE}.weight`)]
  const width = table?.shape[1] ?? 0
  return [...engine.tokenize(text)].flatMap((id) => {
    const row = ids?.values.indexOf(id) ?? -1
    return row < 0 ? Array<number>(width).fill(0) : [...(table?.values.slice(row * width, (row + 1) * width) ?? [])]
  })
}

/** What is learned, before anything is. */
async function untrained(changes: Partial<TrainSpec>): Promise<Map<string, Tensor>> {
  const spec: TrainSpec = { ...SPEC, method: 'cocoop', classnames: ['red', 'blue'], ...changes }
  const trainer = await model.trainer(spec, images.slice(0, 2), Uint32Array.of(0, 1))
  return tensors(await trainer.bundle({ name: 'x', model_id: 'emoji-clip', training: {}, metrics: {} }))
}

test("2: the Meta-Net starts as torch's Linear does, biases too: uniform within 1/sqrt(inputs), so the shift is not 0", async () => {
  const start = await untrained({ ctx_init: null, n_ctx: 4 })
  const { embed_dim, text } = model.info
  const hidden = embed_dim / 16
  for (const [name, shape, inputs] of [
    ['linear1.weight', [hidden, embed_dim], embed_dim],
    ['linear1.bias', [hidden], embed_dim],
    ['linear2.weight', [text.width, hidden], hidden],
    ['linear2.bias', [text.width], hidden],
  ] as const) {
    const found = start.get(`meta_net.${name}`)
    expect(found?.shape).toEqual(shape)
    const [bound, values] = [1 / Math.sqrt(inputs), [...(found?.values ?? [])]]
    const largest = Math.max(...values.map(Math.abs))
    expect(largest, name).toBeLessThanOrEqual(bound)
    expect(largest, name).toBeGreaterThan(0.7 * bound) // twelve values, the fewest, all stay below that once in 72 seeds
    expect(Math.min(...values), name).toBeLessThan(0)
  }
})

test('3, 5, 6: words start as their raw token embeddings, one vector for each token; "_" is a space', async () => {
  const { values: plain, shape } = (await untrained({ ctx_init: 'a photo of a' })).get('ctx') ?? {
    values: [],
    shape: [],
  }
  expect(shape).toEqual([4, model.info.text.width])
  expect([...plain]).toEqual(embeddings('a photo of a'))
  expect((await untrained({ ctx_init: 'a_photo_of_a' })).get('ctx')?.values).toEqual(plain)
  // Two words of three tokens: the original would learn two vectors and shift the class name by one.
  const words = 'a teddybear'
  expect([...engine.tokenize(words)].length).toBeGreaterThan(words.split(' ').length)
  const { values, shape: longer } = (await untrained({ ctx_init: words })).get('ctx') ?? { values: [], shape: [] }
  expect(longer[0]).toBe(engine.tokenize(words).length)
  expect([...values]).toEqual(embeddings(words))
})

test.each([
  [70, 32, 2],
  [64, 32, 2],
  [32, 32, 1],
  [20, 32, 1],
  [1, 32, 1],
  [7, 1, 7],
])(
  '15: %i images in batches of %i are %i: the last part is dropped, but never all of them',
  async (n, batch_size, batches) => {
    const spec: TrainSpec = { ...SPEC, method: 'coop', classnames: ['red', 'blue'], batch_size, ctx_init: null }
    const trainer = await model.trainer(spec, images.slice(0, n), new Uint32Array(n))
    expect(trainer.plan.batches).toBe(batches)
  },
)

test('16: the validation list has four images of a class at most, drawn after those to train on', async () => {
  const labels = Array.from({ length: 60 }, (_, i) => i % 3)
  for (const shots of [1, 2, 4, 8, 16]) {
    const { train, val } = await fewShot({ labels, shots, val_labels: labels, seed: 1 })
    expect([train.length, val.length]).toEqual([3 * shots, 3 * Math.min(4, shots)])
    // Without a validation list the images to train on are the same: they are drawn first.
    expect((await fewShot({ labels, shots, val_labels: [], seed: 1 })).train).toEqual(train)
  }
})

test('18: two classes of one name tie to the bit, and the first wins', async () => {
  const names = ['missile', 'dog', 'missile']
  const features = await model.textFeatures(names, ['a photo of a {}.'])
  const { probs } = await model.score(features.slice(0, model.info.embed_dim), features)
  expect(probs[0]).toBe(probs[2])
  expect(argmax(probs)).toBe(0)
})

test('22: figures are whole numbers over whole numbers, never rounded; H is that of the two it is given', async () => {
  expect(harmonicMean(100 / 3, 200 / 3)).toBeCloseTo(400 / 9, 12)
  const perSeed = [harmonicMean(90, 50), harmonicMean(50, 90)]
  expect(harmonicMean(70, 70)).toBeGreaterThan(((perSeed[0] ?? 0) + (perSeed[1] ?? 0)) / 2)
})

test('24: an ensemble that is asked for again is the same: no list grows', async () => {
  const ask = () => readTemplates(['imagenet-7', 'dataset:oxford_pets'])
  const before = [...TEMPLATE_SETS].map(([name, { length }]) => [name, length])
  const first = await ask()
  expect(first).toHaveLength(8)
  expect(await ask()).toEqual(first)
  expect([...TEMPLATE_SETS].map(([name, { length }]) => [name, length])).toEqual(before)
})

test('30: a single class has the probability 1 whatever it is; its cosine says how well it fits', async () => {
  const [features, image] = await Promise.all([
    model.textFeatures(['dog'], ['a photo of a {}.']),
    model.embedImages([await readFile(new URL('../../fixtures/preprocess/in/rgb_224x224.png', import.meta.url))]),
  ])
  const { probs, cosines } = await model.score(image.features, features)
  expect([...probs]).toEqual([1])
  expect(Math.abs(cosines[0] ?? 1)).toBeLessThan(0.9)
})

test('docs/traps.md has all thirty, and every test that it names is there', async () => {
  const root = new URL('../../', import.meta.url)
  const rows = (await readFile(new URL('docs/traps.md', root), 'utf8'))
    .split('\n')
    .filter((line) => /^\| \d/.test(line))
  expect(rows.map((row) => Number(/\d+/.exec(row)?.[0]))).toEqual(Array.from({ length: 30 }, (_, i) => i + 1))
  for (const row of rows) {
    const named = [...(row.split(' | ').at(-1) ?? '').matchAll(/`([^`]+)` "([^"]+)"/g)]
    expect(named.length, row).toBeGreaterThan(0)
    for (const [, path = '', text = ''] of named)
      expect(await readFile(new URL(path, root), 'utf8'), `${path} of trap ${row}`).toContain(text)
  }
})
