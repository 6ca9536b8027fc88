/** Sweeps as SLURM arrays on a cluster of this one machine (Debian's slurm-wlm). `npm run test:full`; needs root. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Home, makeColours, said } from '../../trainer/src/testing/cli.ts'

const CLUSTER = fileURLToPath(new URL('../slurm/cluster.sh', import.meta.url))
const grid = ({ shots = '4', seeds = '1,2', epochs = '12' } = {}) => {
  return ['--data', 'colours', '--shots', shots, '--seed', seeds, '--epochs', epochs]
}
const RUNS = [1, 2].map((seed) => `colours/cocoop-4shots-all-seed${seed}-epochs12`)

const wanted = process.env.COCOOP_FULL === '1'
const installed = ['slurmctld', 'slurmd', 'munged', 'sbatch'].every((name) => spawnSync('which', [name]).status === 0)
const able = installed && process.getuid?.() === 0
if (wanted && !able) console.log('SLURM is not tested: it needs root and Debian packages slurm-wlm and munge')

describe.runIf(wanted && able)('a SLURM array', () => {
  const home = new Home('slurm')
  const env = { SLURM_CONF: home.file('cluster', 'slurm.conf') }
  const sweep = (args: string[], points = grid()) =>
    home.start(['sweep', ...points, '--executor', 'slurm', ...args], { env })
  const slurm = (program: string, ...args: string[]) =>
    execFileSync(program, args, { env: { ...process.env, ...env }, encoding: 'utf8' })
  const queued = () => slurm('squeue', '--noheader', '--array').split('\n').filter(Boolean).length
  let cluster: ChildProcess

  beforeAll(async () => {
    mkdirSync(home.file('cluster'))
    cluster = spawn('bash', [CLUSTER, home.file('cluster')], { stdio: ['pipe', 'pipe', 'inherit'] })
    await new Promise<void>((ready, fail) => {
      cluster.stdout?.once('data', () => ready())
      cluster.once('exit', (code) => fail(new Error(`the cluster did not start: ${code}`)))
    })
    await makeColours(home.file('colours'))
    expect(await home.run('sweep', ...grid(), '--out', 'whole')).toMatchObject({ code: 0 })
  }, 180_000)

  afterAll(async () => {
    cluster.stdin?.end()
    await new Promise((ended) => cluster.once('exit', ended))
  })

  const expectSame = (out: string) => {
    for (const run of RUNS) {
      const bundle = (of: string) => readFileSync(home.file(of, run, 'bundle.safetensors'))
      expect(bundle(out).equals(bundle('whole')), run).toBe(true)
    }
  }

  test('each job is a task; the results are those of this machine’s processes', async () => {
    const { code, stderr } = await sweep(['--out', 'tasks', '--jobs', '1']).end
    expect([code, stderr]).toEqual([0, expect.stringMatching(/submitted array \d+/)])
    expectSame('tasks')
    const [script] = readdirSync(home.file('tasks/slurm')).filter((name) => name.endsWith('.sh'))
    expect(readFileSync(join(home.file('tasks/slurm'), script ?? ''), 'utf8')).toContain('#SBATCH --array=0-1%1')
    // Done is done: nothing is submitted.
    expect((await sweep(['--out', 'tasks']).end).stderr).toContain('2 of 2 jobs are done already')
  }, 120_000)

  test('several jobs in a task, and arguments for sbatch', async () => {
    const args = ['--slurm-chunk', '2', '--slurm-args=--partition=all', '--slurm-args=--time=10']
    const { code } = await sweep(['--out', 'chunks', ...args]).end
    expect(code).toBe(0)
    expectSame('chunks')
  }, 120_000)

  test('a sweep that is killed finds its array again instead of submitting twice', async () => {
    const long = grid({ epochs: '150' })
    const { child, end } = sweep(['--out', 'killed'], long)
    await home.reached(`killed/${RUNS[0]?.replace('12', '150')}`, 5)
    child.kill('SIGKILL')
    await end
    expect(queued()).toBeGreaterThan(0)
    const { code, stderr } = await sweep(['--out', 'killed'], long).end
    expect([code, stderr]).toEqual([0, expect.stringMatching(/jobs are in SLURM's queue already/)])
    expect(stderr).not.toContain('submitted')
  }, 180_000)

  test('Ctrl-C leaves the array to itself; with --slurm-cancel it ends, and what was begun goes on', async () => {
    const [args, long] = [['--out', 'stopped'], grid({ epochs: '300' })] as const
    const run = `stopped/${RUNS[0]?.replace('12', '300')}`
    const left = sweep([...args], long)
    await home.reached(run, 5)
    left.child.kill('SIGINT')
    expect(await left.end).toMatchObject({ code: 130, stderr: expect.stringContaining('the array goes on') })
    expect(queued()).toBeGreaterThan(0)
    const cancelled = sweep([...args, '--slurm-cancel'], long)
    await said(cancelled, ' running')
    cancelled.child.kill('SIGINT')
    expect(await cancelled.end).toMatchObject({ code: 130, stderr: expect.stringContaining('cancelled array') })
    expect(queued()).toBe(0)
    expect(readdirSync(home.file(run, 'checkpoints')).length).toBeGreaterThan(0)
  }, 120_000)

  test('a job that fails, or that SLURM ends, is told', async () => {
    const { code, stderr } = await sweep(['--out', 'failing'], grid({ shots: '7' })).end
    expect([code, stderr]).toEqual([1, expect.stringContaining('has 6 training images, 7 are needed')])
    const { child, end } = sweep(['--out', 'ended'], grid({ epochs: '500', seeds: '1' }))
    await home.reached('ended/colours/cocoop-4shots-all-seed1-epochs500', 5)
    slurm('scancel', '--signal=KILL', '--full', '--user=root')
    const ended = await end
    expect(child.exitCode).toBe(1)
    expect(ended.stderr).toMatch(/SLURM ended it before it was done \((CANCELLED|FAILED)\)/)
  }, 120_000)

  test('without SLURM it says so', async () => {
    const { code, stderr } = await home.start(['sweep', ...grid(), '--out', 'none', '--executor', 'slurm'], {
      env: { PATH: '/nowhere' },
    }).end
    expect([code, stderr]).toEqual([4, expect.stringContaining('squeue is not there')])
    expect(existsSync(home.file('none/slurm'))).toBe(false)
  })
})
