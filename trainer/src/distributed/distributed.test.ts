/** One run by several processes, as torchrun or a shell loop starts them. */

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { beforeAll, describe, expect, test } from 'vitest'
import { type Ended, Home, makeColours } from '../testing/cli.ts'

const home = new Home('distributed')
const TRAIN = ['train', '--data', home.file('colours'), '--method', 'cocoop', '--shots', '4', '--batch-size', '4']
const SHORT = [...TRAIN, '--epochs', '4', '--lr', '0.02']

beforeAll(async () => {
  await makeColours(home.file('colours'))
})

/** A port that nothing listens at. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Starts these command lines as the ranks of one run. */
async function start(ranks: readonly (readonly string[])[], env: NodeJS.ProcessEnv = {}) {
  const port = await freePort()
  const common = { WORLD_SIZE: String(ranks.length), MASTER_ADDR: '127.0.0.1', COCOOP_MASTER_PORT: String(port) }
  const started = ranks.map((args, rank) => home.start(args, { env: { ...common, RANK: String(rank), ...env } }))
  return { started, port, ends: Promise.all(started.map(({ end }) => end)) }
}

const ok = (ended: Ended[]) =>
  expect(ended.map(({ code, stderr }) => (code === 0 ? 0 : stderr))).toEqual(ended.map(() => 0))

interface Line {
  kind: string
  step: number
  loss: number
}
const metrics = (run: string): Line[] =>
  readFileSync(home.file(run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)

/** The tensors of a safetensors file. */
function tensors(path: string): Map<string, Float32Array> {
  const bytes = readFileSync(path)
  const length = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<
    string,
    { dtype?: string; data_offsets?: [number, number] }
  >
  const found = new Map<string, Float32Array>()
  for (const [name, { dtype, data_offsets: [from, to] = [0, 0] }] of Object.entries(header)) {
    if (dtype === 'F32')
      found.set(name, new Float32Array(Uint8Array.from(bytes.subarray(8 + length + from, 8 + length + to)).buffer))
  }
  return found
}

/** The largest difference of what two runs learned. */
function difference(a: string, b: string): number {
  const [ours, theirs] = [a, b].map((run) => tensors(home.file(run, 'bundle.safetensors')))
  expect([...ours!.keys()]).toEqual([...theirs!.keys()])
  return Math.max(
    ...[...ours!].flatMap(([name, values]) => [...values].map((x, i) => Math.abs(x - theirs!.get(name)![i]!))),
  )
}

describe('several processes', () => {
  beforeAll(async () => {
    ok([await home.run(...SHORT, '--out', 'alone')])
  }, 60_000)

  test.each([2, 3, 5])(
    '%i of them learn what one learns',
    async (world) => {
      const out = `of-${world}`
      const { ends } = await start(Array.from({ length: world }, () => [...SHORT, '--out', out]))
      const ended = await ends
      ok(ended)
      for (const { stdout, stderr } of ended.slice(1)) expect([stdout, stderr]).toEqual(['', ''])
      // Sums of f32 in another order, over 16 steps.
      expect(difference('alone', out)).toBeLessThan(1e-5)
      const [one, several] = [metrics('alone'), metrics(out)]
      expect(several.map(({ kind, step }) => [kind, step])).toEqual(one.map(({ kind, step }) => [kind, step]))
      expect(several.map((line) => Object.keys(line))).toEqual(one.map((line) => Object.keys(line)))
      for (const [i, { loss }] of several.entries()) expect(Math.abs(loss - one[i]!.loss)).toBeLessThan(1e-5)
    },
    120_000,
  )

  test('they give the same bytes each time', async () => {
    ok(await (await start([1, 2].map(() => [...SHORT, '--out', 'again']))).ends)
    expect(readFileSync(home.file('again', 'bundle.safetensors'))).toEqual(
      readFileSync(home.file('of-2', 'bundle.safetensors')),
    )
  }, 60_000)

  test('a rank with other options is refused by name, and all stop', async () => {
    const { ends } = await start([
      [...SHORT, '--out', 'other'],
      [...SHORT, '--seed', '2', '--out', 'other'],
    ])
    for (const { code, stderr } of await ends) {
      expect(code).toBe(2)
      expect(stderr).toMatch(/rank 1 would train another run: seed is 2, on rank 0 it is 1/)
    }
  }, 60_000)

  test('what several began, one does not go on with', async () => {
    const { code, stderr } = await home.run('train', '--resume', '--out', 'other')
    expect([code, stderr]).toEqual([2, expect.stringContaining('other was started by several processes')])
  }, 60_000)

  test('a method that learns nothing is the work of one', async () => {
    const { ends } = await start(
      [1, 2].map(() => ['train', '--data', home.file('colours'), '--method', 'zero-shot', '--out', 'zero']),
    )
    for (const { code, stderr } of await ends) {
      expect(code).toBe(2)
      expect(stderr).toContain('the work of one process')
    }
  }, 60_000)

  test('ranks that do not come are named, and strangers do no harm', async () => {
    const { started, port, ends } = await start([[...SHORT, '--out', 'lonely']], {
      WORLD_SIZE: '3',
      COCOOP_RANK_TIMEOUT: '6',
    })
    const stranger = setInterval(
      () =>
        connect(port, '127.0.0.1')
          .on('error', () => {})
          .end('GET / HTTP/1.1\r\n\r\n'),
      300,
    )
    const [lonely] = await ends
    clearInterval(stranger)
    expect(started).toHaveLength(1)
    expect(lonely).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/of 3 ranks these have not come within 6 s: 1, 2/),
    })
    const [alone] = await (
      await start([[...SHORT, '--out', 'x']], { RANK: '1', WORLD_SIZE: '2', COCOOP_RANK_TIMEOUT: '1' })
    ).ends
    expect(alone).toMatchObject({ code: 1, stderr: expect.stringContaining('rank 0 does not answer') })
  }, 60_000)
})

describe('a run of several that is stopped', () => {
  const LONG = [...TRAIN, '--epochs', '20', '--lr', '0.02']
  beforeAll(async () => {
    ok(await (await start([1, 2].map(() => [...LONG, '--out', 'whole']))).ends)
  }, 120_000)

  test.each([
    ['Ctrl-C at rank 0', 0, 'SIGINT', 130, /stopped after \d+ of 80 steps; nothing is lost/],
    ['Ctrl-C at another rank', 1, 'SIGINT', 130, /rank 1: it was stopped; stopped after \d+ of 80 steps/],
    ['the loss of another rank', 1, 'SIGKILL', 1, /rank 1 .*; stopped after \d+ of 80 steps; nothing is lost/],
    ['the loss of rank 0', 0, 'SIGKILL', 1, /rank 0 at .* is lost|rank 0 at .* has gone away/],
  ] as const)(
    'by %s ends on all ranks, and goes on to the same bytes',
    async (what, victim, signal, exit, says) => {
      const out = `stopped-${what.replaceAll(/\W+/g, '-')}`
      const { started, ends } = await start([1, 2].map(() => [...LONG, '--out', out]))
      await home.reached(out, 15)
      started[victim]!.child.kill(signal)
      const ended = await ends
      for (const [rank, { code, stderr }] of ended.entries()) {
        const killed = rank === victim && signal === 'SIGKILL'
        expect([rank, code, stderr]).toEqual([rank, killed ? null : exit, stderr])
      }
      expect(ended[victim === 0 && signal === 'SIGKILL' ? 1 : 0]!.stderr).toMatch(says)
      expect(home.steps(out)).toBeLessThan(80)
      // The others need no options: rank 0 knows them.
      ok(await (await start([1, 2].map(() => ['train', '--resume', '--out', out]))).ends)
      expect(readFileSync(home.file(out, 'bundle.safetensors'))).toEqual(
        readFileSync(home.file('whole', 'bundle.safetensors')),
      )
      expect(metrics(out)).toEqual(metrics('whole'))
    },
    120_000,
  )
})

test('a learning rate that is too high stops the run at a state that can be loaded', async () => {
  const { code, stderr } = await home.run(...TRAIN, '--epochs', '5', '--lr', '1e30', '--out', 'wild')
  expect(code).toBe(1)
  const [, path] =
    /training diverged in epoch 2, batch \d+: .*; the last good state, after step \d+, is (\S+)/.exec(stderr) ?? []
  expect(stderr).toContain('lower --lr (it was 1e+30) or more --warmup-epochs (1)')
  expect(readFileSync(home.file(path ?? '')).length).toBeGreaterThan(1000)
  const again = await home.run('train', '--resume', '--out', 'wild')
  expect(again.stderr).toContain(`is ${path}`) // it goes on from there, to the same end
}, 60_000)
