/** Sweeps through a queue in Redis (Debian's redis-server), with workers that are killed. `npm run test:full` */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Home, makeColours, type Started, said } from '../../trainer/src/testing/cli.ts'

const grid = ({ shots = '4', seeds = '1,2,3', epochs = '12' } = {}) => {
  return ['--data', 'colours', '--shots', shots, '--seed', seeds, '--epochs', epochs]
}
const RUNS = [1, 2, 3].map((seed) => `colours/cocoop-4shots-all-seed${seed}-epochs12`)

const wanted = process.env.COCOOP_FULL === '1'
const installed = spawnSync('which', ['redis-server']).status === 0
if (wanted && !installed) console.log('The queue is not tested: it needs Debian package redis-server')

describe.runIf(wanted && installed)('a queue in Redis', () => {
  const home = new Home('bullmq')
  let server: ChildProcess
  let url = ''
  const workers = new Set<Started>()
  const sweep = (args: string[], points = grid()) =>
    home.start(['sweep', ...points, '--executor', 'bullmq', '--redis', url, ...args])
  const worker = (...args: string[]) => {
    const started = home.start(['worker', '--redis', url, ...args])
    workers.add(started)
    return started
  }

  beforeAll(async () => {
    const port = await freePort()
    url = `redis://127.0.0.1:${port}`
    mkdirSync(home.file('redis'))
    server = spawn(
      'redis-server',
      ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', home.file('redis')],
      { stdio: 'ignore' },
    )
    await makeColours(home.file('colours'))
    expect(await home.run('sweep', ...grid(), '--out', 'whole')).toMatchObject({ code: 0 })
  }, 180_000)

  afterAll(async () => {
    for (const { child } of workers) child.kill('SIGKILL')
    server.kill()
  })

  const expectSame = (out: string) => {
    for (const run of RUNS) {
      const bundle = (of: string) => readFileSync(home.file(of, run, 'bundle.safetensors'))
      expect(bundle(out).equals(bundle('whole')), run).toBe(true)
    }
  }
  const stop = async ({ child, end }: Started) => {
    child.kill('SIGINT')
    return await end
  }

  test('workers do the jobs; the results are those of this machine’s processes', async () => {
    const queue = ['--queue', 'plain']
    const [one, two] = [worker(...queue, '--jobs', '1'), worker(...queue, '--jobs', '1')]
    expect(await sweep([...queue, '--out', 'plain']).end).toMatchObject({ code: 0 })
    expectSame('plain')
    const ended = await Promise.all([stop(one), stop(two)])
    const done = ended.map(({ stderr }) => stderr.match(/^done /gm)?.length ?? 0)
    expect(done[0]! + done[1]!).toBe(3)
    expect(Math.min(...done)).toBeGreaterThan(0)
  }, 120_000)

  test('the job of a worker that is killed is taken over by another', async () => {
    const queue = ['--queue', 'killed']
    const first = worker(...queue, '--jobs', '1')
    const { end } = sweep([...queue, '--out', 'killed'])
    await home.reached(`killed/${RUNS[0]}`, 20)
    first.child.kill('SIGKILL')
    await first.end
    worker(...queue, '--jobs', '1')
    expect(await end).toMatchObject({ code: 0, stderr: expect.not.stringContaining('failed') })
    expectSame('killed')
  }, 180_000)

  test('a worker that is stopped gives its job back at once', async () => {
    const queue = ['--queue', 'back']
    const first = worker(...queue, '--jobs', '1')
    const { end } = sweep([...queue, '--out', 'back'])
    await home.reached(`back/${RUNS[0]}`, 20)
    expect((await stop(first)).stderr).toContain('given back')
    worker(...queue, '--jobs', '2')
    expect(await end).toMatchObject({ code: 0 })
    expectSame('back')
  }, 120_000)

  test('a sweep that is killed finds its jobs again; one that is stopped stops them', async () => {
    const args = ['--queue', 'stopped', '--out', 'stopped']
    const long = grid({ seeds: '1', epochs: '400' })
    const run = 'stopped/colours/cocoop-4shots-all-seed1-epochs400'
    const busy = worker('--queue', 'stopped', '--jobs', '1')
    const killed = sweep(args, long)
    await home.reached(run, 5)
    killed.child.kill('SIGKILL')
    await killed.end
    const again = sweep(args, long)
    await said(again, '1 running')
    const before = home.steps(run)
    again.child.kill('SIGINT')
    expect(await again.end).toMatchObject({ code: 130 })
    const after = home.steps(run)
    expect(after).toBeGreaterThanOrEqual(before)
    await sleep(1000)
    expect(home.steps(run)).toBe(after)
    expect((await stop(busy)).stderr.match(/^begin /gm)).toHaveLength(1)
  }, 120_000)

  test('a job that fails is told with its reason', async () => {
    const queue = ['--queue', 'failing']
    const failing = worker(...queue)
    const { code, stderr } = await sweep([...queue, '--out', 'failing'], grid({ shots: '4,7', seeds: '1' })).end
    expect([code, stderr]).toEqual([1, expect.stringContaining('has 6 training images, 7 are needed (too_few_images)')])
    expect(stderr).toContain('1 of 2 jobs failed')
    await stop(failing)
  }, 120_000)

  test('without a Redis it says so', async () => {
    const port = await freePort()
    const { code, stderr } = await home.run('worker', '--redis', `redis://:secret@127.0.0.1:${port}`)
    expect([code, stderr]).toEqual([1, expect.stringContaining(`there is no Redis at 127.0.0.1:${port}`)])
    expect(stderr).not.toContain('secret')
  })
})

async function freePort(): Promise<number> {
  return await new Promise((done) => {
    const server = createServer()
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => done(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}
