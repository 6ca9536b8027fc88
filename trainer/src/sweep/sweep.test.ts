/** Sweeps as processes: what is killed, stopped, locked or fails, and that the folders tell the truth afterwards. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, expect, test, vi } from 'vitest'
import { Home, makeColours } from '../testing/cli.ts'

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })
const home = new Home('sweep')
const GRID = ['--data', 'colours', '--shots', '4', '--method', 'zero-shot,cocoop', '--seed', '1,2', '--epochs', '12']
const RUNS = ['zero-shot-all', 'cocoop-4shots-all-seed1-epochs12', 'cocoop-4shots-all-seed2-epochs12']
const bytes = (out: string, run: string, name = 'bundle.safetensors') =>
  readFileSync(home.file(out, 'colours', run, name))

/** Process ids of the jobs that work in a sweep's folder. */
function working(out: string): number[] {
  if (!existsSync(home.file(out, 'colours'))) return []
  return readdirSync(home.file(out, 'colours')).flatMap((run) => {
    const lock = home.file(out, 'colours', run, 'lock')
    return existsSync(lock) ? Number.parseInt(readFileSync(lock, 'utf8'), 10) || [] : []
  })
}

async function until(what: () => boolean, name: string): Promise<void> {
  for (let waited = 0; !what(); waited += 5) {
    if (waited > 60_000) throw new Error(`waited in vain: ${name}`)
    await sleep(5)
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

function expectSame(out: string): void {
  for (const run of RUNS) {
    expect(bytes(out, run).equals(bytes('whole', run)), `${out}/${run}`).toBe(true)
    expect(bytes(out, run, 'tests/colours-all.jsonl').equals(bytes('whole', run, 'tests/colours-all.jsonl'))).toBe(true)
  }
}

beforeAll(async () => {
  await makeColours(home.file('colours'))
  const { code, stderr, stdout } = await home.run('sweep', ...GRID, '--out', 'whole')
  expect(stderr).not.toContain('error:')
  expect([code, stdout]).toEqual([0, expect.stringMatching(/zero-shot-all +done +colours:all \d+\.\d\d/)])
})

test('a sweep that is done does nothing; its result is a document', async () => {
  const before = bytes('whole', RUNS[1] ?? '', 'result.json')
  const result = await home.json<{ total: number; found: number; jobs: { state: string }[] }>(
    'sweep',
    ...GRID,
    '--out',
    'whole',
  )
  expect(result).toMatchObject({ total: 3, done: 3, found: 3, failed: [] })
  expect(result.jobs.map(({ state }) => state)).toEqual(['done', 'done', 'done'])
  expect(bytes('whole', RUNS[1] ?? '', 'result.json').equals(before)).toBe(true)
  const status = await home.json<{ counts: unknown }>('sweep', 'status', 'whole')
  expect(status.counts).toEqual({ done: 3 })
})

test('the runs are those of `train`, to the byte', async () => {
  const options = ['--data', 'colours', '--shots', '4', '--epochs', '12', '--seed', '2']
  expect(await home.run('train', ...options, '--out', 'alone')).toMatchObject({ code: 0 })
  expect(readFileSync(home.file('alone/bundle.safetensors')).equals(bytes('whole', RUNS[2] ?? ''))).toBe(true)
})

test('--dry-run lists the jobs, and which are done; nothing is begun', async () => {
  const { jobs } = await home.json<{ jobs: { state: string }[] }>(
    'sweep',
    ...GRID,
    '--shots',
    '2,4',
    '--out',
    'whole',
    '--dry-run',
  )
  expect(jobs.map(({ state }) => state).sort()).toEqual(['done', 'done', 'done', 'waiting', 'waiting'])
  expect(readdirSync(home.file('whole/colours'))).toHaveLength(3)
})

test('a test that is missing is made, without training again', async () => {
  const run = RUNS[1] ?? ''
  const before = bytes('whole', run, 'result.json')
  const file = home.file('whole/colours', run, 'tests/colours-all.json')
  const figures = readFileSync(file, 'utf8')
  rmSync(file)
  expect(await home.json('sweep', ...GRID, '--out', 'whole')).toMatchObject({ found: 2, done: 3 })
  expect(readFileSync(file, 'utf8')).toBe(figures)
  expect(bytes('whole', run, 'result.json').equals(before)).toBe(true)
})

test('the sweep and its jobs are killed at random moments; the same command ends in the same bytes', async () => {
  let kills = 0
  for (let round = 0; round < 8; round++) {
    const { child, end } = home.start(['sweep', ...GRID, '--out', 'killed', '--jobs', '2'])
    await Promise.race([sleep(300 + 1500 * Math.random()), end])
    const pids = working('killed')
    const [first] = pids
    if (round % 2 === 0 && first !== undefined && isAlive(first)) process.kill(first, 'SIGKILL')
    if (child.exitCode === null && child.kill('SIGKILL')) kills += 1
    await end
    // Without the sweep its jobs stop by themselves, each within a batch.
    await until(() => !pids.some(isAlive), 'jobs outlive their sweep')
  }
  expect(kills).toBeGreaterThan(0)
  const { code, stderr } = await home.run('sweep', ...GRID, '--out', 'killed')
  expect([code, stderr]).toEqual([0, expect.not.stringContaining('failed')])
  expectSame('killed')
}, 180_000)

test('a job that is killed is tried again within the sweep', async () => {
  const { end } = home.start(['sweep', ...GRID, '--out', 'again', '--jobs', '1'])
  await home.reached(`again/colours/${RUNS[1]}`, 5)
  for (const pid of working('again')) process.kill(pid, 'SIGKILL')
  expect(await end).toMatchObject({ code: 0 })
  expectSame('again')
})

test('Ctrl-C stops all jobs within a batch, leaves with 130, and the same command goes on', async () => {
  const { child, end } = home.start(['sweep', ...GRID, '--out', 'stopped', '--jobs', '2'])
  await home.reached(`stopped/colours/${RUNS[1]}`, 5)
  const pids = working('stopped')
  const asked = performance.now()
  child.kill('SIGINT')
  const { code, stderr } = await end
  expect(performance.now() - asked).toBeLessThan(10_000)
  expect([code, stderr]).toEqual([130, expect.stringMatching(/stopped after \d of 3 jobs; nothing is lost/)])
  expect(pids.filter(isAlive)).toEqual([])
  expect(existsSync(home.file('stopped/colours', RUNS[1] ?? '', 'failure.json'))).toBe(false)
  expect(await home.run('sweep', ...GRID, '--out', 'stopped')).toMatchObject({ code: 0 })
  expectSame('stopped')
})

test('a second Ctrl-C ends at once, with the jobs', async () => {
  const { child, end } = home.start(['sweep', ...GRID, '--epochs', '500', '--out', 'twice'])
  await until(() => working('twice').length > 0, 'no job')
  const pids = working('twice')
  child.kill('SIGINT')
  child.kill('SIGINT')
  expect((await end).code).toBe(130)
  await until(() => !pids.some(isAlive), 'jobs outlive their sweep')
})

test('one job that fails stops no other, and is told with its reason', async () => {
  const grid = [
    '--data',
    'colours',
    '--method',
    'zero-shot,cocoop',
    '--shots',
    '4,7',
    '--epochs',
    '1',
    '--out',
    'failing',
  ]
  const { code, stderr, stdout } = await home.run('sweep', ...grid)
  expect(code).toBe(1)
  expect(stderr).toContain('class "black" of colours has 6 training images, 7 are needed (too_few_images)')
  expect(stderr).toContain('1 of 3 jobs failed')
  expect(stdout).toMatch(/cocoop-7shots-all-seed1-epochs1 +failed/)
  expect(stdout).toMatch(/cocoop-4shots-all-seed1-epochs1 +done/)
  const status = await home.json<{ counts: unknown; jobs: { failure?: { code: string } }[] }>(
    'sweep',
    'status',
    'failing',
  )
  expect(status.counts).toEqual({ done: 2, failed: 1 })
  expect(status.jobs.flatMap(({ failure }) => failure?.code ?? [])).toEqual(['too_few_images'])
})

test('--fail-fast stops at the first failure', async () => {
  const grid = ['--data', 'colours', '--shots', '7,4', '--epochs', '300', '--out', 'fast', '--jobs', '1', '--fail-fast']
  const { code, stderr } = await home.run('sweep', ...grid)
  expect([code, stderr]).toEqual([1, expect.stringContaining('1 of 2 jobs failed, 1 are not done')])
})

test('two sweeps do not share a folder; a lock whose process is gone is taken over', async () => {
  const { child, end } = home.start(['sweep', ...GRID, '--epochs', '500', '--out', 'shared'])
  await until(() => working('shared').length > 0, 'no job')
  expect(await home.run('sweep', ...GRID, '--out', 'shared')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('locked'),
  })
  child.kill('SIGINT')
  await end
  writeFileSync(home.file('shared/lock'), `${2 ** 22 + 1} ${hostname()}\n`)
  const quick = ['--data', 'colours', '--method', 'zero-shot', '--out', 'shared']
  expect(await home.run('sweep', ...quick)).toMatchObject({ code: 0 })
})

test.each([
  [['sweep', '--data', 'colours', '--sede', '1'], 2, 'Did you mean --seed?'],
  [['sweep', '--data', 'nowhere'], 4, 'nowhere'],
  [['sweep', '--shots', '1'], 2, '--data is missing'],
  [['sweep', '--data', 'colours', '--shots', '1,x'], 2, '--shots'],
  [['sweep', 'status', 'nothing'], 4, 'nothing holds no sweep'],
  [['sweep', '--data', 'colours', '--executor', 'bullmq'], 2, '--redis is missing'],
  [['base-to-new', '--data', 'colours', '--option', 'epohcs=1'], 2, 'Did you mean "epochs"?'],
  [['base-to-new', '--data', 'colours', '--method', 'soap'], 2, 'Did you mean coop?'],
  [['domain-generalization', '--source', 'colours'], 2, '--data is missing'],
  [['job', 'colours'], 4, 'colours holds no job'],
])('%j leaves with %i', async (args, code, text) => {
  expect(await home.run(...args)).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(text) })
})
