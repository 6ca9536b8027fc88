/** The command line as a process, built as it is shipped: exit codes, what is printed where, and runs that are interrupted. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFileSync, cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, expect, test, vi } from 'vitest'
import { findModel } from './models.ts'
import { CLI, COLOURS, Home, makeColours } from './testing/cli.ts'

vi.setConfig({ testTimeout: 60_000 }) // processes, on a machine that may be busy
const CLASSES = COLOURS
const place = new Home('cli')
const home = place.path
const data = place.file('colours')
const start = (args: string[], before: string[] = []) => place.start(args, { before })
const run = (...args: string[]) => place.run(...args)
const reached = (folder: string, steps: number) => place.reached(folder, steps)

const TRAIN = ['train', '--data', data, '--shots', '4', '--epochs', '12']
const bundleOf = (folder: string) => readFileSync(place.file(folder, 'bundle.safetensors'))

beforeAll(async () => {
  await makeColours(data)
  const whole = await run(...TRAIN, '--out', 'whole')
  expect(whole.stderr).not.toContain('error:')
  expect(whole.code).toBe(0)
}, 120_000)

test.each([
  [['--help'], 0, 'Usage'],
  [['help', 'train'], 0, '--class-token-position'],
  [['train', '--help'], 0, '--class-token-position'],
  [['--version'], 0, '0.'],
  [[], 2, 'Usage'],
])('%j prints to stdout and leaves with %i', async (args, code, text) => {
  const ended = await run(...args)
  expect(ended).toMatchObject({ code, stdout: expect.stringContaining(text), stderr: '' })
})

test.each([
  [['tarin'], 2, 'usage', 'Did you mean `cocoop-train train`?'],
  [['train', '--data', 'x', '--epohcs', '5'], 2, 'usage', 'Did you mean --epochs?'],
  [['train'], 2, 'usage', '--data is missing'],
  [['train', '--data', data, '--epochs', 'ten'], 2, 'usage', '--epochs: expected number'],
  [['train', '--data', data, '--csc', '--out', 'never'], 2, 'usage', '--csc does not go with --method cocoop'],
  [['train', '--data', 'nowhere'], 4, 'not_found', 'nowhere'],
  [['train', '--data', data, '--model', 'nothing', '--out', 'never'], 4, 'not_found', 'nothing'],
  [
    ['train', '--data', data, '--shots', '7', '--out', 'never'],
    3,
    'too_few_images',
    'class "black" of colours has 6 training images, 7 are needed',
  ],
  [['eval', '--bundle', 'whole', '--data', 'nowhere'], 4, 'not_found', 'nowhere'],
  [['eval', '--bundle', join(data, 'test/red/0.png'), '--data', data], 5, 'bad_', 'error:'],
  [['train', '--resume', '--out', 'never-begun'], 4, 'not_found', 'never-begun holds no run'],
  [['zero-shot', '--data', data, '--template', 'no place'], 2, 'usage', '--template'],
])('%j: an error, what it is, what to do, no stack', async (args, code, word, text) => {
  const ended = await run(...args)
  expect(ended).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(text) })
  expect(ended.stderr).toMatch(new RegExp(`^error: .*\\ncode: {2}${word}`, 'm'))
  expect(ended.stderr).toContain('do:    ')
  expect(ended.stderr).not.toMatch(/^\s+at /m)
})

test('with --json an error is a document too', async () => {
  const { stdout } = await run('train', '--data', 'nowhere', '--json')
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'not_found' } })
})

test('a run leaves what it says, and is not overwritten', async () => {
  const written = ['config.json', 'log.txt', 'metrics.jsonl', 'report.html', 'result.json']
  const names = ['bundle.safetensors', 'checkpoints', ...written, 'tests']
  expect(readdirSync(join(home, 'whole')).sort()).toEqual(names)
  expect(readdirSync(join(home, 'whole/checkpoints'))).toHaveLength(2)
  expect(JSON.parse(readFileSync(join(home, 'whole/config.json'), 'utf8'))).toMatchObject({
    options: { method: 'cocoop', seed: 1, n_ctx: 4, epochs: 12 },
    data: { n_train: 16, n_cls: 4 },
  })
  const lines = readFileSync(join(home, 'whole/metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { kind: string; step: number })
  expect(lines.filter(({ kind }) => kind === 'step').map(({ step }) => step)).toEqual(
    Array.from({ length: 12 * 16 }, (_, i) => i + 1),
  )
  expect(lines.filter(({ kind }) => kind === 'epoch')).toHaveLength(12)
  expect(await run(...TRAIN, '--out', 'whole')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('already holds a run'),
  })
  expect(await run('train', '--resume', '--out', 'whole')).toMatchObject({
    code: 0,
    stderr: expect.stringContaining('whole is finished'),
  })
})

test('the test of a run leaves its figures and a line for each image', async () => {
  const file = (name: string) => readFileSync(join(home, 'whole/tests', name), 'utf8')
  const test = JSON.parse(file('colours-all.json')) as { correct: number; accuracy: number; classnames: string[] }
  expect(test).toMatchObject({
    data: 'colours',
    classes: 'all',
    split: 'test',
    n_cls: 4,
    total: 16,
    classnames: CLASSES,
  })
  const lines = file('colours-all.jsonl')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<'label' | 'predicted' | 'prob' | 'prob_label', number>)
  expect(lines).toHaveLength(16)
  expect(lines.filter(({ label, predicted }) => label === predicted)).toHaveLength(test.correct)
  expect(test.accuracy).toBe((100 * test.correct) / 16)
  expect(lines.every(({ prob, prob_label }) => prob >= prob_label && prob <= 1)).toBe(true)
  const { metrics } = JSON.parse(readFileSync(join(home, 'whole/result.json'), 'utf8')) as { metrics: object }
  expect(metrics).toMatchObject({ all: { total: 16, correct: test.correct } })
})

test('zero-shot CLIP is a run, too: its templates, tests and bundle', async () => {
  const args = ['train', '--data', data, '--method', 'zero-shot', '--classes', 'base', '--out', 'zero-run']
  const template = ['--templates', 'a photo of a thing on a {} background.']
  expect(await run(...args, ...template)).toMatchObject({ code: 0, stdout: expect.stringMatching(/H\s+[\d.]+%/) })
  const result = JSON.parse(readFileSync(join(home, 'zero-run/result.json'), 'utf8')) as { metrics: { base: object } }
  const evaluated = await run('eval', '--bundle', 'zero-run', '--data', data, '--json')
  const { total, correct, accuracy, ece } = JSON.parse(evaluated.stdout) as Record<string, number>
  expect(result.metrics.base).toMatchObject({ total, correct, accuracy, ece })
  expect(await run(...args, '--method', 'coop', '--out', 'never', ...template)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--templates does not go with --method coop'),
  })
}, 60_000)

test('the same command gives the same bytes, and config.json repeats it', async () => {
  expect(await run('train', '--config', 'whole/config.json', '--out', 'again')).toMatchObject({ code: 0 })
  expect(bundleOf('again').equals(bundleOf('whole'))).toBe(true)
}, 120_000)

test('a linear probe is a run, too; it knows its own classes only', async () => {
  const args = ['train', '--data', data, '--shots', '4', '--method', 'linear-probe']
  const searched = await run(...args, '--out', 'probe')
  expect(searched).toMatchObject({ code: 0, stdout: expect.stringMatching(/all\s+4\s+16/) })
  expect(searched.stderr).toMatch(/linear probe with C = .*, of 16 fits/)
  expect(readdirSync(join(home, 'probe')).sort()).toEqual([
    'config.json',
    'log.txt',
    'probe.safetensors',
    'report.html',
    'result.json',
    'tests',
  ])
  const { metrics, probe } = JSON.parse(readFileSync(join(home, 'probe/result.json'), 'utf8')) as {
    metrics: { all: { accuracy: number } }
    probe: object
  }
  expect(metrics.all.accuracy).toBeGreaterThan(25) // better than a guess
  expect(probe).toMatchObject({ path: 'probe/probe.safetensors' })
  // The base half is tested on itself: new classes are none of its.
  expect(await run(...args, '--classes', 'base', '--probe-c', '0.1', '--out', 'probe-base')).toMatchObject({
    code: 0,
    stdout: expect.not.stringContaining('new'),
    stderr: expect.stringContaining('of 1 fits'),
  })
  expect(await run('train', '--data', data, '--probe-c', '1', '--out', 'never')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--probe-c does not go with --method cocoop'),
  })
})

test('views that take turns are encoded once, and the cache changes no bit', async () => {
  const args = [...TRAIN, '--views', '2']
  const entries = () => readdirSync(join(home, 'cache/features')).length
  const before = entries()
  expect(await run(...args, '--out', 'views')).toMatchObject({ code: 0 })
  expect(entries()).toBe(before) // a run of 12 views has seen both
  expect(await run(...args, '--out', 'views-anew', '--no-cache')).toMatchObject({ code: 0 })
  expect(bundleOf('views').equals(bundleOf('views-anew'))).toBe(true)
  expect(bundleOf('views').equals(bundleOf('whole'))).toBe(false)
  expect(await run(...args, '--seed', '2', '--out', 'views-other')).toMatchObject({ code: 0 })
  expect(entries()).toBe(before + 2)
}, 120_000)

test('killed at several moments and resumed, a run ends in the same bytes', async () => {
  let args = [...TRAIN, '--out', 'killed']
  // Within the first epoch, at an epoch's end, in the middle, and close to the end.
  for (const lines of [3, 34, 100, 170]) {
    const { child, end } = start(args)
    await reached('killed', lines)
    child.kill('SIGKILL')
    expect((await end).code).toBeNull()
    expect(existsSync(join(home, 'killed/result.json'))).toBe(false)
    args = ['train', '--resume', '--out', 'killed']
  }
  expect(await run(...args)).toMatchObject({ code: 0 })
  expect(bundleOf('killed').equals(bundleOf('whole'))).toBe(true)
  const metrics = (folder: string) => readFileSync(join(home, folder, 'metrics.jsonl'), 'utf8')
  expect(metrics('killed')).toBe(metrics('whole'))
}, 120_000)

test('Ctrl-C stops within a batch, leaves with 130 and says how to go on; that ends in the same bytes', async () => {
  const { child, end } = start([...TRAIN, '--out', 'stopped'])
  await reached('stopped', 40)
  const asked = performance.now()
  child.kill('SIGINT')
  const ended = await end
  expect(performance.now() - asked).toBeLessThan(5000)
  expect(ended.code).toBe(130)
  expect(ended.stderr).toMatch(/error: stopped after \d+ of 192 steps; nothing is lost/)
  expect(ended.stderr).toContain('Go on with: cocoop-train train --resume --out stopped')
  expect(await run('train', '--resume', '--out', 'stopped')).toMatchObject({ code: 0 })
  expect(bundleOf('stopped').equals(bundleOf('whole'))).toBe(true)
}, 120_000)

test('a second Ctrl-C ends at once', async () => {
  const { child, end } = start(['train', '--data', 'emoji-backdrops', '--out', 'twice'])
  await reached('twice', 3)
  child.kill('SIGINT')
  child.kill('SIGINT')
  await sleep(1)
  child.kill('SIGINT')
  expect((await end).code).toBe(130)
}, 60_000)

test('two processes do not write to one run', async () => {
  const { child, end } = start([...TRAIN, '--epochs', '100', '--out', 'shared'])
  await reached('shared', 3)
  expect(await run('train', '--resume', '--out', 'shared')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('another run is writing'),
  })
  child.kill('SIGKILL')
  await end
}, 60_000)

test('resuming with other options, other images or another model is refused', async () => {
  const { child, end } = start([...TRAIN, '--epochs', '100', '--out', 'other'])
  await reached('other', 20)
  child.kill('SIGKILL')
  await end
  expect(await run('train', '--resume', '--out', 'other', '--lr', '0.1')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--lr is 0.1, the run was started with 0.002'),
  })
  const config = join(home, 'other/config.json')
  const before = readFileSync(config, 'utf8')
  writeFileSync(config, before.replace(/"fingerprint": "./, '"fingerprint": "x'))
  expect(await run('train', '--resume', '--out', 'other')).toMatchObject({
    code: 3,
    stderr: expect.stringContaining('are not those that other was started with'),
  })
  writeFileSync(config, before.replace(/"sha256": "./, '"sha256": "x'))
  expect(await run('train', '--resume', '--out', 'other')).toMatchObject({
    code: 5,
    stderr: expect.stringContaining('is not the one'),
  })
}, 60_000)

// The shell caps the size of files, which looks to the program like a full disk; no privileges are needed.
test('a full disk while saving leaves the old checkpoint, says so, and loses nothing', async () => {
  const { child, end } = start([...TRAIN, '--out', 'full'])
  await reached('full', 40)
  child.kill('SIGKILL')
  await end
  const saved = () =>
    readdirSync(join(home, 'full/checkpoints')).map((name) => [
      name,
      readFileSync(join(home, 'full/checkpoints', name), 'hex'),
    ])
  const before = saved()
  expect(before.length).toBeGreaterThan(0)
  const capped = await start(
    ['train', '--resume', '--out', 'full'],
    ['bash', '-c', 'trap "" XFSZ; ulimit -f 24; exec "$@"', 'bash'],
  ).end
  expect(capped).toMatchObject({ code: 6, stderr: expect.stringContaining('the disk is full') })
  expect(capped.stderr).toContain('what was there before is unchanged')
  expect(saved()).toEqual(before)
  expect(await run('train', '--resume', '--out', 'full')).toMatchObject({ code: 0 })
  expect(bundleOf('full').equals(bundleOf('whole'))).toBe(true)
}, 120_000)

test('an unreadable image stops the run and is named; --skip-bad goes on without it', async () => {
  const broken = join(home, 'broken')
  await makeColours(broken)
  writeFileSync(join(broken, 'train/red/2.png'), readFileSync(join(broken, 'train/red/2.png')).subarray(0, 200))
  writeFileSync(join(broken, 'test/blue/1.png'), 'no image')
  const args = ['train', '--data', broken, '--shots', '6', '--epochs', '1', '--out', 'broken-run']
  const before = await run(...args) // what is no image at all is seen before anything is read
  expect(before).toMatchObject({
    code: 3,
    stderr: expect.stringContaining('test/blue/1.png of class "blue" is no image'),
  })
  writeFileSync(join(broken, 'test/blue/1.png'), readFileSync(join(broken, 'test/blue/0.png')))
  const stopped = await run(...args)
  expect(stopped).toMatchObject({ code: 3, stderr: expect.stringContaining('red/2.png') })
  expect(stopped.stderr).toContain('--skip-bad')
  writeFileSync(join(broken, 'test/blue/1.png'), 'no image')
  const skipped = await run(...args, '--skip-bad')
  expect(skipped.code).toBe(0)
  expect(skipped.stderr).toMatch(/left out: .*red\/2\.png/)
  expect(skipped.stderr).toMatch(/left out: .*blue\/1\.png/)
  expect(JSON.parse(readFileSync(join(home, 'broken-run/config.json'), 'utf8'))).toMatchObject({
    data: { n_train: 23 },
  })
}, 60_000)

test('models: one is converted, looked into, and opened by the other commands; what cannot be used is told', async () => {
  const convert = ['models', 'convert', 'emoji-clip', '--dtype', 'f32', '--names', 'openai', '--out', 'converted']
  const converted = await run(...convert, '--json')
  expect(converted).toMatchObject({ code: 0 })
  const { bytes, weights } = JSON.parse(converted.stdout) as { bytes: number; weights: string }
  expect(bytes).toBe(readFileSync(join(home, weights)).length)
  expect(await run(...convert)).toMatchObject({ code: 1, stderr: expect.stringContaining('converted is not empty') })

  const report = async (target: string) =>
    JSON.parse((await run('models', 'inspect', target, '--json')).stdout) as object
  const before = await report('emoji-clip')
  expect(before).toMatchObject({ format: 'safetensors', names: 'hf', problem: null, missing: [], unexpected: [] })
  const { parameters } = before as { parameters: number }
  expect(await report('converted')).toMatchObject({
    names: 'openai',
    problem: null,
    parameters,
    dtypes: { f32: parameters },
  })
  const text = await run('models', 'inspect', 'converted')
  expect(text.stdout).toMatch(/^format {6}safetensors, openai names, \d+ tensors, [\d,]+ f32/m)
  const zeroShot = ['zero-shot', '--data', data, '--model', 'converted', '--json']
  expect(await run(...zeroShot)).toMatchObject({ code: 0 })

  const file = join(home, 'converted', 'broken.safetensors')
  writeFileSync(file, readFileSync(join(home, weights)).subarray(0, 1000))
  expect(await run('models', 'inspect', file)).toMatchObject({ code: 5 })
  expect(await run('models', 'inspect', 'nothing')).toMatchObject({ code: 4 })
  expect(await run('models', 'inspect')).toMatchObject({ code: 2, stderr: expect.stringContaining('MODEL is missing') })
}, 60_000)

test('eval prints figures, classes and predictions; another model is refused', async () => {
  const args = [
    'eval',
    '--bundle',
    'whole',
    '--data',
    data,
    '--per-class',
    '--predictions',
    'predictions.jsonl',
    '--top-k',
    '2',
  ]
  const text = await run(...args)
  expect(text.stdout).toMatch(/all\s+4\s+16\s+\d+\.\d\d%\s+\d+\.\d\d%/)
  expect(text.stdout).toMatch(/yellow\s+4/)
  const result = JSON.parse((await run(...args, '--json')).stdout) as { accuracy: number; total: number }
  const lines = readFileSync(join(home, 'predictions.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { classname: string; predictions: { classname: string; prob: number }[] })
  expect(lines).toHaveLength(16)
  const right = lines.filter(({ classname, predictions }) => predictions[0]?.classname === classname)
  expect(result).toMatchObject({ total: 16, accuracy: (100 * right.length) / 16 })
  expect(lines.every(({ predictions: [a, b] }) => a !== undefined && b !== undefined && a.prob >= b.prob)).toBe(true)

  const other = join(home, 'other-model')
  cpSync(findModel('emoji-clip'), other, { recursive: true })
  const weights = readFileSync(join(other, 'model.safetensors'))
  weights[weights.length - 2] = (weights.at(-2) ?? 0) ^ 1
  writeFileSync(join(other, 'model.safetensors'), weights)
  const refused = await run('eval', '--bundle', 'whole', '--data', data, '--model', other)
  expect(refused).toMatchObject({ code: 5, stderr: expect.stringContaining('model_mismatch') })
}, 60_000)

test('class-specific prompts are tested on their own classes and refused on others', async () => {
  const args = ['--data', data, '--shots', '4', '--epochs', '1']
  expect(await run('train', ...args, '--method', 'coop', '--csc', '--classes', 'base', '--out', 'csc')).toMatchObject({
    code: 0,
  })
  expect(await run('eval', '--bundle', 'csc', '--data', data)).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/base\s+2\s+8/),
  })
  expect(await run('eval', '--bundle', 'csc', '--data', data, '--classes', 'new')).toMatchObject({
    code: 5,
    stderr: expect.stringContaining('class-specific prompts for "black", "blue", not for "red", "yellow"'),
  })
}, 60_000)

test('zero-shot takes templates, and an ensemble of them, and writes a bundle that eval reads', async () => {
  const template = ['--template', 'a photo of a thing on a {} background.', '--template', 'a {} background.']
  const direct = JSON.parse(
    (await run('zero-shot', '--data', data, ...template, '--out', 'zero.safetensors', '--json')).stdout,
  ) as { accuracy: number }
  expect(direct.accuracy).toBeGreaterThan(60) // the template asks for what the classes are
  const read = JSON.parse((await run('eval', '--bundle', 'zero.safetensors', '--data', data, '--json')).stdout) as {
    accuracy: number
  }
  expect(read.accuracy).toBe(direct.accuracy)
}, 60_000)

test('publish, list, show and roll back in a folder', async () => {
  const store = ['--store', join(home, 'store')]
  expect(await run('bundles', ...store)).toMatchObject({ code: 0, stderr: expect.stringContaining('no bundles') })
  const first = JSON.parse((await run('publish', 'whole', '--name', 'hues', ...store, '--json')).stdout) as {
    sha256: string
    previous: null
  }
  expect(first.previous).toBeNull()
  expect(await run('bundles', 'rollback', 'hues', ...store)).toMatchObject({ code: 4 })
  await run('zero-shot', '--data', data, '--out', 'plain.safetensors')
  const second = JSON.parse(
    (await run('publish', 'plain.safetensors', '--name', 'hues', ...store, '--json')).stdout,
  ) as { sha256: string; previous: string }
  expect(second.previous).toBe(first.sha256)
  expect((await run('bundles', 'list', ...store)).stdout).toMatch(/hues\s+zero-shot\s+4/)
  expect(await run('bundles', 'rollback', 'hues', ...store)).toMatchObject({ code: 0 })
  expect((await run('bundles', 'show', 'hues', ...store)).stdout).toContain(`${first.sha256.slice(0, 12)} (served)`)
  expect(await run('eval', '--bundle', 'hues', '--data', data, ...store)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('cocoop'),
  })
  expect(await run('bundles', 'show', 'nothing', ...store)).toMatchObject({ code: 4 })
}, 120_000)

test('export-onnx writes whole folders, or says why not and leaves nothing', async () => {
  await run('zero-shot', '--data', data, '--out', 'for-onnx.safetensors')
  const ended = await run(
    'export-onnx',
    '--out',
    'onnx',
    '--bundle',
    'for-onnx.safetensors',
    '--towers',
    'vision,text',
    '--json',
  )
  expect(ended.code).toBe(0)
  const { files } = JSON.parse(ended.stdout) as { files: { name: string; bytes: number; sha256: string }[] }
  const names = ['vision_model.onnx', 'text_model.onnx', 'prompt_model.onnx', 'classifier.onnx']
  expect(files.map(({ name }) => name)).toEqual(names)
  for (const { name, bytes, sha256 } of files) {
    const found = readFileSync(join(home, 'onnx', name))
    expect([name, found.length, createHash('sha256').update(found).digest('hex')]).toEqual([name, bytes, sha256])
  }
  expect(readdirSync(join(home, 'onnx')).sort()).toEqual([...names, 'onnx.json'].sort())

  const half = await run('export-onnx', '--out', 'half', '--towers', 'vision', '--dtype', 'f16', '--json')
  const [vision] = (JSON.parse(half.stdout) as { files: { bytes: number }[] }).files
  expect((vision?.bytes ?? 0) / (files[0]?.bytes ?? 1)).toBeCloseTo(0.5, 1)

  for (const [args, code, word, text] of [
    [['--out', 'onnx'], 1, 'exists', 'onnx is not empty'],
    [['--out', 'never-1', '--bundle', 'whole'], 5, 'bad_bundle', 'depend on the image'],
    [['--out', 'never-1', '--bundle', 'nothing.safetensors'], 4, 'bundle_not_found', 'nothing'],
    [['--out', 'never-1', '--towers', 'tower'], 2, 'usage', 'expected vision, text or vision,text'],
    [['nothing', '--out', 'never-1'], 4, 'not_found', 'no model called nothing'],
    [[], 2, 'usage', '--out is missing'],
  ] as const) {
    const refused = await run('export-onnx', ...args)
    expect(refused).toMatchObject({ code, stderr: expect.stringContaining(text) })
    expect(refused.stderr).toContain(`code:  ${word}`)
  }
  // A disk that takes no file beyond 1 MB.
  const full = await start(
    ['export-onnx', '--out', 'never-1'],
    ['bash', '-c', 'trap "" XFSZ; ulimit -f 1000; exec "$@"', 'bash'],
  ).end
  expect(full).toMatchObject({ code: 6, stderr: expect.stringContaining('the disk is full') })
  expect(readdirSync(home).filter((name) => name.startsWith('never-1'))).toEqual([])
}, 60_000)

test('a bundle that was tampered with is not published', async () => {
  const bytes = bundleOf('whole')
  appendFileSync(join(home, 'long.safetensors'), Buffer.concat([bytes, Buffer.of(0)]))
  expect((await run('publish', 'long.safetensors', '--store', join(home, 'store-2'))).code).toBe(5)
  expect(existsSync(join(home, 'store-2/bundle'))).toBe(false)
})

test('doctor leaves with 0 where all is there', async () => {
  const { code, stdout } = await run('doctor')
  expect(stdout).toMatch(/ok\s+native addon: /)
  expect(code).toBe(0)
})

test('what is printed can be cut off', () => {
  expect(
    execFileSync('bash', ['-c', `"${process.execPath}" "${CLI}" help train | head -1`], {
      cwd: dirname(CLI),
    }).toString(),
  ).toContain('Learn prompts')
})
