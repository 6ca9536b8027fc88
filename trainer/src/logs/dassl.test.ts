/** The original's lines, and what its parse_test_res.py makes of the log.txt of real runs. */
import { readFileSync } from 'node:fs'
import { beforeAll, expect, test } from 'vitest'
import { Home, makeColours } from '../testing/cli.ts'
import { readEvents } from '../testing/events.ts'

const home = new Home('dassl')
const lines = (run: string) => readFileSync(home.file(run, 'log.txt'), 'utf8').split('\n')

/** Its rules: after a line that is the signal, the last number of "* accuracy: x%". */
function parsed(run: string, signal: string): number | undefined {
  let [good, found] = [false, undefined as number | undefined]
  for (const line of lines(run).map((line) => line.trim())) {
    if (line === signal) good = true
    const match = /\* accuracy: ([.\deE+-]+)%/.exec(line)
    if (match && good) found = Number(match[1])
  }
  return found
}

const COMMON = ['--data', 'colours', '--shots', '4', '--log-style', 'dassl']

beforeAll(async () => {
  await makeColours(home.file('colours'))
  const flags = ['--method', 'cocoop', '--classes', 'base', '--epochs', '3', '--print-freq', '4', '--tensorboard']
  const run = await home.run('train', ...COMMON, ...flags, '--out', 'cocoop/seed1')
  expect([run.code, run.stderr]).toEqual([0, expect.not.stringMatching(/^error:/m)])
}, 120_000)

test("the lines are the original's, in its order", () => {
  const log = lines('cocoop/seed1')
  const wanted = [
    /^Setting fixed seed: 1$/,
    /^\*\* Arguments \*\*$/,
    /^method: cocoop$/,
    /^\*\* Config \*\*$/,
    /^ {2}MAX_EPOCH: 3$/,
    /^ {4}N_CTX: 4$/,
    /^\*\* System info \*\*$/,
    /^Loading trainer: CoCoOp$/,
    /^Loading dataset: colours$/,
    /^Creating a 4-shot dataset$/,
    /^SUBSAMPLE BASE CLASSES!$/,
    /^Dataset {4}colours$/,
    /^# classes {2}2$/,
    /^# train_x {2}8$/,
    /^# test {5}8$/,
    /^Loading CLIP \(backbone: emoji-clip\)$/,
    /^Initial context: "a photo of a"$/,
    /^Number of context words \(tokens\): 4$/,
    /^Parameters to be updated: \{'prompt_learner\.ctx', /,
    /^epoch \[1\/3\] batch \[4\/8\] time \d+\.\d{3} \(\d+\.\d{3}\) data 0\.000 \(0\.000\) loss \d+\.\d{4} \(\d+\.\d{4}\) lr 1\.0000e-05 eta 0:\d\d:\d\d$/,
    /^Checkpoint saved to /,
    /^Finish training$/,
    /^Deploy the last-epoch model$/,
    /^Evaluate on the \*test\* set$/,
    /^=> result$/,
    /^\* total: 8$/,
    /^\* correct: \d$/,
    /^\* accuracy: \d+\.\d%$/,
    /^\* error: \d+\.\d%$/,
    /^\* macro_f1: \d+\.\d%$/,
    /^Elapsed: 0:\d\d:\d\d$/,
  ]
  let at = -1
  for (const line of wanted) {
    const next = log.findIndex((text, i) => i > at && line.test(text))
    expect(next, `${line} after line ${at + 1}`).toBeGreaterThan(at)
    at = next
  }
})

test("an epoch's last line shows the next epoch's rate, as the original's; the run has learned at its own", () => {
  const rates = lines('cocoop/seed1').flatMap((line) => /^epoch .* lr (\S+)/.exec(line)?.[1] ?? [])
  expect(rates).toEqual(['1.0000e-05', '2.0000e-03', '2.0000e-03', '1.5000e-03', '1.5000e-03', '5.0000e-04'])
  const metrics = readFileSync(home.file('cocoop/seed1/metrics.jsonl'), 'utf8').trim().split('\n')
  const steps = metrics.map((line) => JSON.parse(line) as { kind: string; lr: number })
  const learned = steps.filter(({ kind }) => kind === 'step').map(({ lr }) => lr)
  expect([learned[0], learned[7], learned[8], learned[23]].map((lr) => lr?.toPrecision(3))).toEqual([
    '0.0000100',
    '0.0000100',
    '0.00200',
    '0.00150',
  ])
})

test('its script finds the accuracy of the classes that were trained, not that of the new ones', async () => {
  const { metrics } = JSON.parse(readFileSync(home.file('cocoop/seed1/result.json'), 'utf8')) as {
    metrics: Record<'base' | 'new', { accuracy: number }>
  }
  expect(parsed('cocoop/seed1', 'Finish training')).toBeCloseTo(metrics.base.accuracy, 1)
  expect(lines('cocoop/seed1').join('\n')).toContain(`new classes: 8 images, ${metrics.new.accuracy.toFixed(1)}%`)
})

test('CoOp says its accuracy in training; zero-shot has a result and no training', async () => {
  const coop = await home.run(
    'train',
    ...COMMON,
    '--method',
    'coop',
    '--epochs',
    '2',
    '--batch-size',
    '8',
    '--out',
    'coop',
  )
  expect(coop.code).toBe(0)
  // Two batches are fewer than five: the original prints each.
  const batches = lines('coop').filter((line) => line.startsWith('epoch ['))
  expect(batches).toHaveLength(4)
  expect(batches[0]).toMatch(/ acc \d+\.\d{4} \(\d+\.\d{4}\) lr /)
  expect(lines('coop')).toContain(`Initial context: "${Array(16).fill('X').join(' ')}"`)
  expect((await home.run('train', ...COMMON, '--method', 'zero-shot', '--out', 'zero')).code).toBe(0)
  expect(parsed('zero', 'Finish training')).toBeUndefined()
  expect(parsed('zero', '=> result')).toBeGreaterThanOrEqual(0)
}, 60_000)

test('killed and resumed, the events have every step once, with the values of a run that was not', async () => {
  const flags = ['--epochs', '6', '--tensorboard']
  expect((await home.run('train', ...COMMON, ...flags, '--out', 'whole')).code).toBe(0)
  const { child, end } = home.start(['train', ...COMMON, ...flags, '--out', 'killed'])
  await home.reached('killed', 40)
  child.kill('SIGKILL')
  await end
  expect((await home.run('train', '--resume', '--out', 'killed')).code).toBe(0)
  const rates = (run: string) => readEvents(home.file(run, 'tensorboard')).filter(({ tag }) => tag === 'train/lr')
  expect(rates('killed').map(({ step }) => step)).toEqual(Array.from({ length: 96 }, (_, i) => i))
  expect(rates('killed')).toEqual(rates('whole'))
  expect(readEvents(home.file('killed/tensorboard')).filter(({ tag }) => tag === 'test/accuracy')).toHaveLength(1)
  expect(lines('killed').some((line) => /^Found checkpoint after batch \d+ of 96/.test(line))).toBe(true)
}, 120_000)
