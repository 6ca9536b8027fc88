import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { writeDurably } from '../files.ts'
import { RunFolder } from './folder.ts'

const folder = () => join(mkdtempSync(join(tmpdir(), 'run-')), 'run')

/** A started run: config.json is what makes a folder one. */
async function started(path = folder()): Promise<RunFolder> {
  const run = await RunFolder.create(path)
  await run.writeJson('config.json', { seed: 1 })
  return run
}

test('a folder that holds a run is not overwritten, and --resume needs one', async () => {
  const run = await started()
  run[Symbol.dispose]()
  await expect(RunFolder.create(run.path)).rejects.toMatchObject({ code: 'exists' })
  expect(() => RunFolder.open(folder())).toThrow(expect.objectContaining({ code: 'not_found' }))
  using again = RunFolder.open(run.path)
  expect(await again.readJson('config.json')).toEqual({ seed: 1 })
})

test('two live processes do not share a folder; a dead one leaves it free', async () => {
  const path = folder()
  const run = await started(path)
  run[Symbol.dispose]()
  const other = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)'])
  await once(other, 'spawn')
  writeFileSync(join(path, 'lock'), `${other.pid} ${hostname()}\n`)
  expect(() => RunFolder.open(path)).toThrow(expect.objectContaining({ code: 'locked' }))
  other.kill('SIGKILL')
  await once(other, 'exit')
  using again = RunFolder.open(path)
  expect(readFileSync(join(path, 'lock'), 'utf8')).toMatch(new RegExp(`^${process.pid} ${hostname()} `))
  expect(existsSync(again.file('lock.clearing'))).toBe(false)
})

test('a lock of another host is respected: its process cannot be asked', async () => {
  const run = await started()
  run[Symbol.dispose]()
  writeFileSync(run.file('lock'), `${2 ** 22 + 1} elsewhere\n`)
  expect(() => RunFolder.open(run.path)).toThrow(expect.objectContaining({ code: 'locked' }))
})

test('the newest two checkpoints are kept', async () => {
  using run = await started()
  for (const step of [10, 20, 30]) await run.saveCheckpoint(step, Uint8Array.of(step))
  const kept = await run.checkpoints()
  expect(kept.map(({ step }) => step)).toEqual([30, 20])
  expect([...readFileSync(kept[0]?.path ?? '')]).toEqual([30])
})

test('metrics after the checkpoint are forgotten on resume, a torn line too', async () => {
  using run = await started()
  await run.trimMetrics(0)
  for (const step of [1, 2, 3]) run.metric({ step, loss: 1 / step })
  run[Symbol.dispose]()
  appendFileSync(run.file('metrics.jsonl'), '{"step": 4, "lo')
  await run.trimMetrics(2)
  run.metric({ step: 3, loss: 9 })
  const lines = readFileSync(run.file('metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown)
  expect(lines).toEqual([
    { step: 1, loss: 1 },
    { step: 2, loss: 0.5 },
    { step: 3, loss: 9 },
  ])
})

// Two ways in which a disk fills up: while the bytes are written, and only when they are synced.
test.each(['writeFile', 'sync'] as const)('a full disk (%s) leaves the old checkpoint and says so', async (call) => {
  using run = await started()
  await run.saveCheckpoint(10, Uint8Array.of(1))
  const probe = await open(run.file('config.json'))
  const handle = Object.getPrototypeOf(probe) as { writeFile: () => Promise<void>; sync: () => Promise<void> }
  await probe.close()
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
  const spy = vi.spyOn(handle, call).mockRejectedValue(full)
  try {
    await expect(run.saveCheckpoint(20, Uint8Array.of(2))).rejects.toMatchObject({
      code: 'no_space',
      message: expect.stringContaining('what was there before is unchanged'),
    })
  } finally {
    spy.mockRestore()
  }
  expect((await run.checkpoints()).map(({ step }) => step)).toEqual([10])
  expect(readdirSync(run.file('checkpoints'))).toHaveLength(1)
})

test('a file is replaced as a whole', async () => {
  const path = join(folder(), 'a', 'file')
  await writeDurably(path, 'one')
  await writeDurably(path, 'two')
  expect(readFileSync(path, 'utf8')).toBe('two')
})
