import { expect, test } from 'vitest'
import type { Dataset } from './datasets/dataset.ts'
import { openDataset } from './datasets/open.ts'
import { fingerprint, selectClasses, selectShots, selectSplit } from './select.ts'

const backdrops = await openDataset('emoji-backdrops')
const noisy = await openDataset('emoji-backdrops-noisy')
const pick = { shots: 4, seed: 1, classes: 'all', allow_fewer: false } as const

test('base and new are the halves of the classes, each with labels from 0', async () => {
  const [base, fresh] = [await selectSplit(backdrops, 'test', 'base'), await selectSplit(backdrops, 'test', 'new')]
  expect([...base.classnames, ...fresh.classnames]).toEqual(backdrops.classnames)
  expect(base.classnames).toHaveLength(10)
  for (const half of [base, fresh]) {
    expect(new Set(half.labels)).toEqual(new Set(Array.from({ length: 10 }, (_, i) => i)))
    expect(half.items.every(({ classname }, i) => half.classnames[half.labels[i] ?? -1] === classname)).toBe(true)
  }
})

test('a set for testing only is cut by its own labels, and cannot be trained on', async () => {
  expect(await selectClasses(noisy, 'new')).toEqual(await selectClasses(backdrops, 'new'))
  await expect(selectShots(noisy, pick)).rejects.toMatchObject({ code: 'bad_data' })
  await expect(selectSplit(noisy, 'val', 'all')).rejects.toMatchObject({ code: 'bad_data' })
})

test('the shots of the base classes are those that all classes would have got: the cut comes after the draw', async () => {
  const [all, base] = [await selectShots(backdrops, pick), await selectShots(backdrops, { ...pick, classes: 'base' })]
  expect(all.items).toHaveLength(80)
  expect(base.items).toEqual(all.items.filter(({ label }) => label < 10))
  const other = await selectShots(backdrops, { ...pick, seed: 2 })
  expect(other.items.map(({ path }) => path)).not.toEqual(all.items.map(({ path }) => path))
})

test('0 shots are all images; a class with too few is named, or taken as it is', async () => {
  expect((await selectShots(backdrops, { ...pick, shots: 0 })).items).toEqual(backdrops.train)
  const short: Dataset = { ...backdrops, train: backdrops.train.slice(2) }
  await expect(selectShots(short, { ...pick, shots: 19 })).rejects.toMatchObject({
    code: 'too_few_images',
    message: expect.stringMatching(/"beige" .* has 18 training images, 19 are needed/),
  })
  // The class lies in the base half: the new one has enough.
  expect((await selectShots(short, { ...pick, shots: 19, classes: 'new' })).items).toHaveLength(190)
  expect((await selectShots(short, { ...pick, shots: 19, allow_fewer: true })).items).toHaveLength(18 + 19 * 19)
})

test('the fingerprint changes with every byte, label and name', () => {
  const selected = { classnames: ['a', 'b'], items: [], labels: [0, 1] }
  const images = [Uint8Array.of(1, 2), Uint8Array.of(3)]
  const prints = [
    fingerprint(selected, images),
    fingerprint(selected, [Uint8Array.of(1), Uint8Array.of(2, 3)]),
    fingerprint(selected, [Uint8Array.of(1, 3), Uint8Array.of(3)]),
    fingerprint({ ...selected, labels: [1, 0] }, images),
    fingerprint({ ...selected, classnames: ['a', 'c'] }, images),
  ]
  expect(new Set(prints).size).toBe(prints.length)
  expect(fingerprint(selected, images)).toBe(prints[0])
})
