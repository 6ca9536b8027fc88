import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Task } from './job.ts'
import { Pace } from './pace.ts'

const root = mkdtempSync(join(tmpdir(), 'pace-'))
const task = (name: string, epochs: number): Task => {
  const folder = join(root, name)
  mkdirSync(folder)
  return { name, folder, options: { method: 'coop', data: 'x', shots: 2 }, tests: [], epochs }
}
const finish = ({ folder }: Task) => writeFileSync(join(folder, 'result.json'), '{}')

test('the time left follows from jobs that ended and from how far the running ones are', async () => {
  const [short, long, other] = [task('short', 10), task('long', 40), task('other', 10)]
  let now = 0
  const pace = new Pace([short, long, other], 1, () => now)
  expect(pace.line()).toBe('0/3 done, ETA --:--')
  pace.start(short)
  now = 20_000
  finish(short)
  expect(pace.end(short)).toBe(20)
  expect(pace.seconds()).toBeCloseTo(100) // 20 s for 10 epochs, 50 are left
  pace.start(long)
  writeFileSync(
    join(long.folder, 'metrics.jsonl'),
    '{"kind":"step","step":9,"epoch":3}\n{"kind":"step","step":60,"epoch":20,"loss":1}\n',
  )
  await pace.look()
  now = 80_000 // half of it took 60 s: 3 s an epoch, not 2
  expect(pace.seconds()).toBeCloseTo((20 + 10) * 2.5)
  expect(pace.line()).toBe('1/3 done, ETA 1:15, 1 running: long 50%')
})

test('a job that ended without a result says nothing about the others', () => {
  const [bad, next] = [task('bad', 1), task('next', 1)]
  const pace = new Pace([bad, next], undefined, () => 0)
  pace.start(bad)
  pace.end(bad)
  expect(pace.seconds()).toBeUndefined()
  expect(pace.done).toBe(0)
})
