import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readEvents } from '../testing/events.ts'
import { Board } from './board.ts'
import { crc32c, EventFile } from './tensorboard.ts'

const folder = () => join(mkdtempSync(join(tmpdir(), 'events-')), 'tensorboard')
const batch = (epoch: number, batch: number, loss: number) => {
  return { epoch, batch, loss, lr: 0.002, correct: 1, images: 2 }
}

// RFC 3720, B.4: 32 bytes of zeros, of ones, and counted.
test.each([
  [new Uint8Array(32), 0x8a9136aa],
  [new Uint8Array(32).fill(255), 0x62a8ab43],
  [Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
])('CRC-32C %#', (content, crc) => {
  expect(crc32c(content)).toBe(crc)
})

test('scalars come back with their tags, steps and times; steps beyond 32 bits too', () => {
  const at = folder()
  {
    using file = new EventFile(at, 0, () => 1_700_000_000_500)
    file.scalars({ 'train/loss': 0.5, 'train/lr': 0.002 }, 3)
    file.scalars({ 'train/loss': -1.25 }, 2 ** 40 + 5)
  }
  const [name = ''] = readdirSync(at)
  expect(name).toMatch(/^events\.out\.tfevents\.1700000000\./)
  expect(readEvents(at)).toEqual([
    { tag: 'train/loss', step: 3, value: 0.5 },
    { tag: 'train/lr', step: 3, value: Math.fround(0.002) },
    { tag: 'train/loss', step: 2 ** 40 + 5, value: -1.25 },
  ])
  // The first record says the version: without it readers keep steps that a resumed run writes again.
  expect(readFileSync(join(at, name)).includes('brain.Event:2')).toBe(true)
})

test("a run's tags are the original's: the epoch's means so far, steps from 0, tests after the last", () => {
  const at = folder()
  const board = new Board(at)
  board.start({ epochs: 2, batches: 2, batch_size: 2, n_train: 4, parameters: 1 }, 0)
  for (const event of [batch(1, 1, 4), batch(1, 2, 2), batch(2, 1, 1)]) board.batch(event)
  board.tested('base', { n_cls: 2, total: 4, correct: 3, accuracy: 75, macro_f1: 70, ece: 1 }, true)
  board.tested('new', { n_cls: 2, total: 4, correct: 2, accuracy: 50, macro_f1: 50, ece: 1 }, false)
  board.end()
  const values = (tag: string) => readEvents(at).filter((event) => event.tag === tag)
  expect(values('train/loss').map(({ step, value }) => [step, value])).toEqual([[0, 4], [1, 3], [2, 1]]) // biome-ignore format: pairs
  expect(values('train/acc')[0]?.value).toBe(50)
  expect(values('test/accuracy')).toEqual([{ tag: 'test/accuracy', step: 4, value: 75 }])
  expect(values('test_new/accuracy')[0]?.value).toBe(50)
})

test('what an earlier process wrote after the state that is gone on from is void', () => {
  const at = folder()
  const plan = { epochs: 2, batches: 3, batch_size: 2, n_train: 6, parameters: 1 }
  const first = new Board(at)
  first.start(plan, 0)
  for (const event of [batch(1, 1, 1), batch(1, 2, 2), batch(1, 3, 3), batch(2, 1, 9)]) first.batch(event)
  first.end()
  const second = new Board(at)
  second.start(plan, 3)
  for (const event of [batch(2, 1, 4), batch(2, 2, 6)]) second.batch(event)
  second.end()
  expect(readdirSync(at)).toHaveLength(2)
  const steps = readEvents(at).filter(({ tag }) => tag === 'train/loss')
  expect(steps.map(({ step, value }) => [step, value])).toEqual([[0, 1], [1, 1.5], [2, 2], [3, 4], [4, 5]]) // biome-ignore format: pairs
})
