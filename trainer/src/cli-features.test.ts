/** `embed`, `score`, `search` and templates as processes: what is written, what is kept, what goes wrong. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, expect, test, vi } from 'vitest'
import { openDataset } from './datasets/open.ts'
import { Home } from './testing/cli.ts'

vi.setConfig({ testTimeout: 120_000 }) // processes, on a machine that may be busy
const WIDTH = 192
const place = new Home('features')
const home = place.path
const photos = join(home, 'photos')
const kept = join(home, 'cache/features')

const start = (...args: string[]) => place.start(args)
const run = (...args: string[]) => place.run(...args)
/** The result of a command that went well. */
const json = <T>(...args: string[]) => place.json<T>(...args)
const rowsOf = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { path?: string; text?: string; features: number[] })
const dot = (a: readonly number[] = [], b: readonly number[] = []) => a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0)

beforeAll(async () => {
  const { test: items } = await openDataset('emoji-backdrops')
  mkdirSync(join(photos, 'below'), { recursive: true })
  for (const colour of ['red', 'blue', 'yellow']) {
    const found = items.filter(({ classname }) => classname === colour).slice(0, 15)
    for (const [i, item] of found.entries())
      writeFileSync(join(photos, 'below', `${colour}-${i}.png`), await item.read())
  }
})

test('images become JSON lines on stdout, and the same numbers for NumPy', async () => {
  const { code, stdout } = await run('embed', 'photos')
  expect(code).toBe(0)
  const rows = rowsOf(stdout)
  const names = readdirSync(join(photos, 'below')).map((name) => `photos/below/${name}`)
  expect(rows.map(({ path }) => path)).toEqual(names.sort())
  for (const { features } of rows) expect(dot(features, features)).toBeCloseTo(1, 5)

  const result = await json<{ count: number; files: string[] }>('embed', 'photos', '--out', 'f/photos.npy')
  expect(result).toMatchObject({ count: 45, embed_dim: WIDTH, files: ['f/photos.npy', 'f/photos.json'], left_out: [] })
  const file = readFileSync(join(home, 'f/photos.npy'))
  expect(file.toString('latin1', 0, 128)).toContain(`'shape': (45, ${WIDTH})`)
  const numbers = new Float32Array(file.buffer, file.byteOffset + 128)
  expect([...numbers]).toEqual(rows.flatMap(({ features }) => features.map(Math.fround)))
  expect(JSON.parse(readFileSync(join(home, 'f/photos.json'), 'utf8'))).toMatchObject({ names, embed_dim: WIDTH })
})

test('an image that cannot be read is named and left out, and the command leaves with 7', async () => {
  mkdirSync(join(home, 'mixed'))
  copyFileSync(join(photos, 'below/red-0.png'), join(home, 'mixed/a.png'))
  writeFileSync(join(home, 'mixed/b.png'), 'no image')
  copyFileSync(join(photos, 'below/red-1.png'), join(home, 'mixed/c.png'))
  writeFileSync(join(home, 'mixed/d.jpg'), '')
  const ended = await run('embed', 'mixed', 'photos/below/red-0.png', '--out', 'mixed.jsonl')
  expect(ended).toMatchObject({ code: 7, stdout: expect.stringContaining('3 x 192 features in mixed.jsonl') })
  expect(ended.stderr).toMatch(/left out: mixed\/b\.png: /)
  expect(ended.stderr).toMatch(/left out: mixed\/d\.jpg: the file is empty/)
  const rows = rowsOf(readFileSync(join(home, 'mixed.jsonl'), 'utf8'))
  expect(rows.map(({ path }) => path)).toEqual(['mixed/a.png', 'mixed/c.png', 'photos/below/red-0.png'])
  expect(rows[2]?.features).toEqual(rows[0]?.features)
  expect(await run('score', 'mixed', '--text', 'red')).toMatchObject({ code: 7 })
  expect(await run('search', 'red', 'mixed')).toMatchObject({ code: 7 })
  expect(await run('embed', 'mixed/b.png', 'mixed/d.jpg', '--out', 'none.npy')).toMatchObject({ code: 3, stdout: '' })
  expect(existsSync(join(home, 'none.npy'))).toBe(false)
})

test('texts from the command line and from a file, kept for the next time', async () => {
  writeFileSync(join(home, 'texts.txt'), 'a dog\r\na_b {} "x"\n')
  const args = ['embed', '--text', 'red', '--texts', 'texts.txt']
  const first = await run(...args)
  expect(rowsOf(first.stdout).map(({ text }) => text)).toEqual(['red', 'a dog', 'a_b {} "x"'])
  const before = readdirSync(kept)
  expect((await run(...args)).stdout).toBe(first.stdout)
  expect(readdirSync(kept)).toEqual(before)
  for (const name of before) writeFileSync(join(kept, name), 'damaged')
  expect((await run(...args)).stdout).toBe(first.stdout)
  expect(readdirSync(kept).some((name) => readFileSync(join(kept, name)).length > 1000)).toBe(true)
  rmSync(kept, { recursive: true })
  expect((await run(...args, '--no-cache')).stdout).toBe(first.stdout)
  expect(existsSync(kept)).toBe(false)
})

test('a text that is too long is named, or cut', async () => {
  writeFileSync(join(home, 'long.txt'), `a cat\n${'dog '.repeat(100)}\n`)
  const refused = await run('embed', '--texts', 'long.txt', '--out', 'long.npy')
  expect(refused).toMatchObject({ code: 3, stderr: expect.stringMatching(/dog dog.*102 tokens.*holds 77/) })
  expect(existsSync(join(home, 'long.npy'))).toBe(false)
  expect(await json('embed', '--texts', 'long.txt', '--truncate', '--out', 'long.npy')).toMatchObject({ count: 2 })
  writeFileSync(join(home, 'gap.txt'), 'a cat\n\na dog\n')
  expect(await run('embed', '--texts', 'gap.txt')).toMatchObject({
    code: 3,
    stderr: expect.stringContaining('gap.txt, line 2'),
  })
})

test('Ctrl-C leaves no half file', async () => {
  const lines = Array.from({ length: 200_000 }, (_, i) => `a photo of thing number ${i} of very many things`)
  writeFileSync(join(home, 'many.txt'), lines.join('\n'))
  mkdirSync(join(home, 'stopped'))
  const { child, end } = start('embed', '--texts', 'many.txt', '--no-cache', '--out', 'stopped/many.npy')
  const size = () => readdirSync(join(home, 'stopped')).length
  for (let waited = 0; size() === 0 && waited < 60_000; waited += 20) await sleep(20)
  expect(size()).toBe(1)
  child.kill('SIGINT')
  expect(await end).toMatchObject({ code: 130, stdout: '' })
  expect(readdirSync(join(home, 'stopped'))).toEqual([])
})

test('score gives the cosines of the features, and probabilities that add up', async () => {
  const images = ['photos/below/red-0.png', 'photos/below/blue-0.png']
  const texts = ['a photo of a thing on a red background.', 'a photo of a thing on a blue background.']
  const flags = texts.flatMap((text) => ['--text', text])
  const result = await json<{
    logit_scale: number
    images: { path: string; scores: { text: string; cosine: number; prob: number }[] }[]
  }>('score', ...images, ...flags)
  const imageRows = rowsOf((await run('embed', ...images)).stdout)
  const textRows = rowsOf((await run('embed', ...flags)).stdout)
  expect(result.images.map(({ path }) => path)).toEqual(images)
  for (const [i, { scores }] of result.images.entries()) {
    expect(scores.map(({ text }) => text)).toEqual(texts)
    for (const [j, { cosine }] of scores.entries()) {
      expect(cosine).toBeCloseTo(dot(imageRows[i]?.features, textRows[j]?.features), 5)
    }
    expect(scores.reduce((sum, { prob }) => sum + prob, 0)).toBeCloseTo(1, 5)
    const [a, b] = scores.map(({ prob, cosine }) => Math.log(prob) - result.logit_scale * cosine)
    expect(a).toBeCloseTo(b ?? Number.NaN, 2)
  }
  const { stdout } = await run('score', ...images, ...flags)
  expect(stdout).toMatch(/red-0\.png +cosine +probability\n-+ .*\na photo of a thing on a red .*%\n/)
})

test('search finds what is asked for, and encodes a folder once', async () => {
  type Found = { images: number; encoded: number; results: { path: string; cosine: number }[] }
  const search = (...more: string[]) =>
    json<Found>('search', 'a photo of a thing on a yellow background.', 'photos', '--top', '5', ...more)
  const first = await search()
  expect(first).toMatchObject({ images: 45, encoded: 45 })
  expect(first.results).toHaveLength(5)
  expect(first.results.filter(({ path }) => path.includes('yellow')).length).toBeGreaterThan(3)
  expect(first.results.every(({ cosine }, i, all) => cosine <= (all[i - 1]?.cosine ?? 1))).toBe(true)
  expect(await search()).toEqual({ ...first, encoded: 0 })
  expect(await json<Found>('search', 'x', './photos/', '--top', '1')).toMatchObject({ encoded: 0 })

  copyFileSync(join(photos, 'below/blue-0.png'), join(photos, 'below/yellow-0.png'))
  utimesSync(join(photos, 'below/yellow-0.png'), 1000, 1000)
  copyFileSync(join(photos, 'below/red-0.png'), join(photos, 'new.png'))
  expect(await search()).toMatchObject({ images: 46, encoded: 2 })
  rmSync(join(photos, 'new.png'))
  expect(await search()).toMatchObject({ images: 45, encoded: 0 })
  expect(await search('--no-cache')).toMatchObject({ images: 45, encoded: 45 })

  const like = await json<Found>('search', '--image', 'photos/below/red-3.png', 'photos')
  expect(like.results).toHaveLength(10)
  expect(like.results[0]).toMatchObject({ path: 'photos/below/red-3.png', cosine: expect.closeTo(1, 5) })
  expect((await run('search', 'red', 'photos', '--top', '2')).stdout).toMatch(
    /^image +cosine\n-+ .*\nphotos.*\nphotos.*\n$/,
  )
})

test('published templates: listed, tested, kept, published', async () => {
  expect((await run('templates')).stdout).toMatch(/imagenet-80 +80 +a bad photo of a \{\}\./)
  expect((await run('templates', 'imagenet-7')).stdout.trim().split('\n')).toHaveLength(7)
  const args = ['--data', 'emoji-kinds', '--templates', 'imagenet-7', '--templates', 'simple']
  type Result = { accuracy: number; per_class: unknown }
  const first = await json<Result>('zero-shot', ...args, '--out', 'kinds.safetensors')
  expect(first.accuracy).toBeGreaterThan(60)
  await json('zero-shot', ...args, '--out', 'again.safetensors')
  await json('zero-shot', ...args, '--out', 'fresh.safetensors', '--no-cache')
  const [bundle, again, fresh] = ['kinds', 'again', 'fresh'].map((name) =>
    readFileSync(join(home, `${name}.safetensors`)),
  )
  expect(again?.equals(bundle ?? Buffer.of())).toBe(true)
  expect(fresh?.equals(bundle ?? Buffer.of())).toBe(true)
  expect(await json<Result>('eval', ...args)).toMatchObject({ accuracy: first.accuracy, per_class: first.per_class })
  const published = await json<{ name: string; sha256: string }>('publish', ...args, '--store', 'store')
  expect(published.name).toBe('emoji-kinds-zero-shot')
  expect(
    await json<Result>('eval', '--bundle', published.name, '--store', 'store', '--data', 'emoji-kinds'),
  ).toMatchObject({
    accuracy: first.accuracy,
  })
})

test.each([
  [['embed'], 2, 'usage', 'got neither'],
  [['embed', 'photos', '--text', 'a'], 2, 'usage', 'got both'],
  [['embed', 'photos', '--out', 'x.csv'], 2, 'usage', '.npy or .jsonl'],
  [['embed', 'nowhere'], 4, 'not_found', 'nowhere'],
  [['embed', '--texts', 'nowhere.txt'], 4, 'not_found', 'nowhere.txt'],
  [['score', 'photos'], 2, 'usage', 'there is no text'],
  [['score', '--text', 'x'], 2, 'usage', 'IMAGE... is missing'],
  [['search', 'a dog'], 2, 'usage', 'FOLDER is missing'],
  [['search', 'a dog', 'photos', '--image', 'x.png'], 2, 'usage', 'two queries'],
  [['search', 'a dog', 'photos', 'more'], 2, 'usage', 'QUERY FOLDER'],
  [['search', '--image', 'x.png', 'photos'], 4, 'not_found', 'x.png'],
  [['search', 'a dog', 'photos', '--model', 'nothing'], 4, 'not_found', 'nothing'],
  [['zero-shot', '--data', 'emoji-kinds', '--templates', 'imagenet-8'], 4, 'not_found', 'imagenet-80'],
  [['eval', '--data', 'emoji-kinds'], 2, 'usage', '--bundle is missing'],
  [['eval', '--data', 'emoji-kinds', '--bundle', 'x', '--templates', 'simple'], 2, 'usage', 'does not go with'],
  [['publish', '--templates', 'simple'], 2, 'usage', '--data is missing'],
  [['publish'], 2, 'usage', 'RUN|BUNDLE is missing'],
  [['templates', 'nothing'], 4, 'not_found', 'nothing'],
])('%j: an error, what it is, what to do', async (args, code, word, text) => {
  const ended = await run(...args)
  expect(ended).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(text) })
  expect(ended.stderr).toMatch(new RegExp(`^error: .*\\ncode: {2}${word}\\ndo: {4}`, 'm'))
})

test('rows on stdout and --json do not go together', async () => {
  const ended = await run('embed', '--text', 'a', '--json')
  expect(ended.code).toBe(2)
  expect(JSON.parse(ended.stdout)).toMatchObject({ error: { code: 'usage', hint: expect.stringContaining('--out') } })
})
