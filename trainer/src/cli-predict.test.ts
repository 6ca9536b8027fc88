/** `predict` and `report` as processes: what is printed and written, that the answers are the worker's, and what goes wrong. */
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Classifier, wasmEngine } from 'cocoop/node'
import { beforeAll, expect, test, vi } from 'vitest'
import { findModel, readModel } from './models.ts'
import type { Predicted } from './prediction-rows.ts'
import { formatProbe } from './runs/probe-file.ts'
import { COLOURS, Home, makeColours } from './testing/cli.ts'

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 }) // processes, on a machine that may be busy
const place = new Home('predict')
const data = place.file('colours')

beforeAll(async () => {
  await makeColours(data)
  const train = ['train', '--data', 'colours', '--shots', '2', '--epochs', '2', '--out', 'run']
  const { code, stderr } = await place.run(...train)
  expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.not.stringContaining('there is no report') })
})

interface Answer {
  bundle: string
  classnames: string[]
  count: number
  images: Predicted[]
  left_out: { path: string; code: string }[]
}

test("a folder's images get the answers that the worker gives", async () => {
  const { images, classnames, count } = await place.json<Answer>('predict', 'colours/test', '--bundle', 'run')
  expect(classnames).toEqual(COLOURS)
  expect(count).toBe(16)
  const bundle = readFileSync(place.file('run/bundle.safetensors'))
  using worker = await Classifier.load(await readModel('emoji-clip'), bundle, { engine: await wasmEngine() })
  for (const { path, predictions } of images) {
    const { predictions: answered } = await worker.classify(readFileSync(place.file(path)))
    expect(predictions.map(({ classname }) => classname)).toEqual(answered.map(({ classname }) => classname))
    for (const [i, { prob, cosine }] of predictions.entries()) {
      expect(Math.abs(prob - (answered[i]?.prob ?? 2))).toBeLessThan(1e-4)
      expect(Math.abs((cosine ?? 2) - (answered[i]?.cosine ?? 2))).toBeLessThan(1e-4)
    }
  }
})

test('a line an image, a CSV, JSON lines, other classes', async () => {
  const red = 'colours/test/red/0.png'
  const { code, stdout } = await place.run('predict', red, 'colours/test/blue', '--bundle', 'run')
  expect(code).toBe(0)
  const lines = stdout.trim().split('\n')
  expect(lines).toHaveLength(5)
  expect(lines[0]).toMatch(/^colours\/test\/red\/0\.png +(black|blue|red|yellow) +\d+\.\d\d% +-?0\.\d{4}$/)

  const out = ['--bundle', 'run', '--top-k', '2', '--out']
  expect(await place.run('predict', 'colours/test', ...out, 'p/all.csv')).toMatchObject({
    code: 0,
    stdout: '16 predictions in p/all.csv\n',
  })
  const [head, ...rows] = readFileSync(place.file('p/all.csv'), 'utf8').trim().split('\n')
  expect(head).toBe('path,class,prob,cosine,class_2,prob_2,cosine_2')
  expect(rows).toHaveLength(16)
  await place.run('predict', 'colours/test', ...out, 'p/all.jsonl')
  const parsed = readFileSync(place.file('p/all.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Predicted)
  const cells = parsed.map(({ path, predictions }) => [
    path,
    ...predictions.flatMap(({ classname, prob, cosine }) => [classname, prob, cosine]),
  ])
  expect(cells.map((row) => row.join(','))).toEqual(rows)

  const open = await place.json<Answer>('predict', red, '--bundle', 'run', '--classes', 'a cat, a "red", thing')
  expect(open.classnames).toEqual(['a cat', 'a "red"', 'thing'])
  expect(open.images[0]?.predictions.reduce((sum, { prob }) => sum + prob, 0)).toBeCloseTo(1, 5)
  await place.run('predict', red, '--bundle', 'run', '--classes', 'a "red"', '--out', 'p/quoted.csv')
  expect(readFileSync(place.file('p/quoted.csv'), 'utf8')).toMatch(/\ncolours\/test\/red\/0\.png,"a ""red""",1,/)
})

test('an image that cannot be read is named and left out, and the command leaves with 7', async () => {
  mkdirSync(place.file('mixed'))
  copyFileSync(place.file('colours/test/red/0.png'), place.file('mixed/a.png'))
  writeFileSync(place.file('mixed/b.png'), 'no image')
  const ended = await place.run('predict', 'mixed', '--bundle', 'run', '--json')
  expect(ended).toMatchObject({ code: 7, stderr: expect.stringMatching(/left out: mixed\/b\.png: /) })
  expect(JSON.parse(ended.stdout)).toMatchObject({
    count: 1,
    left_out: [{ path: 'mixed/b.png', code: 'unsupported_image' }],
  })
  expect(await place.run('predict', 'mixed/b.png', '--bundle', 'run', '--out', 'none.csv')).toMatchObject({ code: 3 })
  expect(readdirSync(place.path).filter((name) => name.startsWith('none.csv'))).toEqual([])
})

test.each([
  [['--bundle', 'run'], 2, 'usage', 'IMAGE... is missing'],
  [['colours'], 2, 'usage', '--bundle is missing'],
  [['colours', '--bundle', 'nowhere/at-all'], 4, 'not_found', 'nowhere/at-all'],
  [['nothing.png', '--bundle', 'run'], 4, 'not_found', 'nothing.png'],
  [['colours', '--bundle', 'run', '--out', 'a.txt'], 2, 'usage', 'expected a .csv or .jsonl file, got a.txt'],
  [['colours', '--bundle', 'run', '--classes', 'a,,b'], 2, 'usage', 'expected names separated by commas'],
  [['colours', '--bundle', 'run', '--classes', 'a,b,a'], 2, 'usage', '"a" is there twice'],
  [['colours', '--bundle', 'run', '--model', 'nothing'], 4, 'not_found', 'nothing'],
])('predict %j: %i', async (args, code, word, text) => {
  const ended = await place.run('predict', ...args)
  expect(ended).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(text) })
  expect(ended.stderr).toContain(`code:  ${word}`)
})

test('class-specific prompts serve their own classes only', async () => {
  const train = [
    'train',
    '--data',
    'colours',
    '--shots',
    '2',
    '--epochs',
    '1',
    '--method',
    'coop',
    '--csc',
    '--out',
    'csc',
  ]
  expect(await place.run(...train, '--no-report')).toMatchObject({ code: 0 })
  expect(existsSync(place.file('csc/report.html'))).toBe(false)
  expect(await place.run('predict', 'colours/test', '--bundle', 'csc')).toMatchObject({ code: 0 })
  expect(await place.run('predict', 'colours/test', '--bundle', 'csc', '--classes', 'a,b')).toMatchObject({
    code: 5,
    stderr: expect.stringContaining('class_mismatch'),
  })
})

test('a linear probe classifies by its own classes, without cosines', async () => {
  const dim = 192
  const model = {
    id: 'emoji-clip',
    sha256: JSON.parse(readFileSync(place.file('run/config.json'), 'utf8')).model.sha256,
  }
  // Two classes by the sign of one feature: its weight says how sure.
  const weight = new Float32Array(2 * dim)
  weight[dim] = 1000
  const about = { classnames: ['left', 'right'], c: 1, model, training: {}, metrics: {} }
  mkdirSync(place.file('probe'))
  writeFileSync(place.file('probe/probe.safetensors'), formatProbe({ ...about, weight, bias: new Float32Array(2) }))
  const { images } = await place.json<Answer>('predict', 'colours/test', '--bundle', 'probe')
  const rows = await place.json<{ count: number }>('embed', 'colours/test', '--out', 'e.jsonl')
  expect(rows.count).toBe(images.length)
  const features = readFileSync(place.file('e.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { path: string; features: number[] })
  for (const [i, { path, predictions }] of images.entries()) {
    expect(path).toBe(features[i]?.path)
    expect(predictions[0]).toMatchObject({
      classname: (features[i]?.features[0] ?? 0) > 0 ? 'right' : 'left',
      cosine: null,
    })
    expect(predictions.reduce((sum, { prob }) => sum + prob, 0)).toBeCloseTo(1, 5)
  }
  expect(
    await place.run('predict', 'colours/test', '--bundle', 'probe/probe.safetensors', '--out', 'p/probe.csv'),
  ).toMatchObject({ code: 0 })
  expect(readFileSync(place.file('p/probe.csv'), 'utf8')).toMatch(
    /\ncolours\/test\/black\/0\.png,(left|right),[\d.e-]+,,(left|right),[\d.e-]+,\n/,
  )
  expect(await place.run('predict', 'colours', '--bundle', 'probe', '--classes', 'a,b')).toMatchObject({ code: 5 })
  writeFileSync(
    place.file('probe/probe.safetensors'),
    formatProbe({ ...about, model: { ...model, sha256: 'x' }, weight, bias: new Float32Array(2) }),
  )
  expect(await place.run('predict', 'colours', '--bundle', 'probe')).toMatchObject({
    code: 5,
    stderr: expect.stringContaining('model_mismatch'),
  })
})

test('a run brings the model that it was made with', async () => {
  const other = place.file('other')
  cpSync(findModel('emoji-clip'), other, { recursive: true })
  const weights = readFileSync(place.file('other/model.safetensors'))
  weights[weights.length - 2] = (weights.at(-2) ?? 0) ^ 1
  writeFileSync(place.file('other/model.safetensors'), weights)
  const train = [
    'train',
    '--data',
    'colours',
    '--method',
    'zero-shot',
    '--model',
    other,
    '--out',
    'by-other',
    '--no-report',
  ]
  expect(await place.run(...train)).toMatchObject({ code: 0 })
  const red = 'colours/test/red/0.png'
  expect(await place.run('predict', red, '--bundle', 'by-other')).toMatchObject({ code: 0 })
  expect(await place.run('predict', red, '--bundle', 'by-other', '--model', 'emoji-clip')).toMatchObject({
    code: 5,
    stderr: expect.stringContaining('model_mismatch'),
  })
})

test('Ctrl-C leaves no half file', async () => {
  const { child, end } = place.start([
    'predict',
    'emoji-kinds',
    'emoji-backdrops',
    '--bundle',
    'run',
    '--out',
    'stopped.csv',
  ])
  for (let waited = 0; !readdirSync(place.path).some((name) => name.startsWith('stopped.csv')); waited += 5) {
    if (waited > 60_000) throw new Error('it did not begin')
    await sleep(5)
  }
  child.kill('SIGINT')
  expect((await end).code).toBe(130)
  expect(readdirSync(place.path).filter((name) => name.startsWith('stopped.csv'))).toEqual([])
})

test('a run leaves its report, and `report` writes it again, or one about several', async () => {
  const first = readFileSync(place.file('run/report.html'), 'utf8')
  expect(first).toContain('<h1>CoCoOp on colours</h1>')
  const written = await place.json<{ out: string; notes: string[]; runs: { tests: { total: number }[] }[] }>(
    'report',
    'run',
  )
  expect(written).toMatchObject({ out: 'run/report.html', notes: [], runs: [{ tests: [{ total: 16 }] }] })
  expect(readFileSync(place.file('run/report.html'), 'utf8')).toBe(first)
  const zeroShot = ['train', '--data', 'colours', '--method', 'zero-shot', '--out', 'zero']
  expect(await place.run(...zeroShot)).toMatchObject({ code: 0 })
  expect(await place.run('report', 'run', 'zero', '--out', 'both.html')).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^both\.html, \d+\.\d kB\n$/),
  })
  expect(readFileSync(place.file('both.html'), 'utf8')).toContain('Zero-shot CLIP')
  expect(await place.run('report', 'colours')).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('colours holds no run'),
  })
  expect(await place.run('report')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('RUN|SWEEP... is missing'),
  })
})
