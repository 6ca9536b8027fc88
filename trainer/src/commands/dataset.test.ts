/** The command as a user types it, on folders of small pictures and with the real engine. */
import { lstat, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MINIATURES, writeMiniature } from '../../../test/support/papers.ts'
import { png, writeFiles } from '../../../test/support/pictures.ts'
import type { Context } from '../command.ts'
import type { Dataset } from '../datasets/dataset.ts'
import { openDataset, openPath } from '../datasets/open.ts'
import { splitRows } from '../datasets/split-zhou.ts'
import { parseFlags } from '../flags.ts'
import { selectShots } from '../select.ts'
import { Terminal } from '../terminal.ts'
import { dataset } from './dataset.ts'

let root: string
let sets: string
let signal: AbortSignal
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'dataset-'))
  sets = join(root, 'data-sets')
  signal = new AbortController().signal
})
afterEach(() => rm(root, { recursive: true }))

function write(files: Record<string, Buffer | string>): Promise<void> {
  return writeFiles(root, files)
}

/** A sound set: two classes of four pictures, no two alike. */
const PHOTOS = Object.fromEntries(
  ['cat', 'big_dog'].flatMap((name, i) => [0, 1, 2, 3].map((j) => [`photos/${name}/${j}.png`, png(10 * i + j)])),
)

interface Run {
  result: Record<string, unknown>
  out: string
  err: string
  code: number
}

async function run(...args: string[]): Promise<Run> {
  const [out, err]: [string[], string[]] = [[], []]
  let code = 0
  const terminal = new Terminal({ write: (text) => err.push(text) }, false)
  const { options, given } = parseFlags(dataset, [...args, '--data-sets', sets], {})
  const context: Context = {
    terminal,
    given,
    print: (text) => void out.push(text),
    write: async (text) => void out.push(text),
    exit: (wanted) => {
      code = wanted
    },
    signal,
  }
  const result = (await dataset.run(options, context)) as Record<string, unknown>
  return { result, out: out.join('\n'), err: err.join(''), code }
}

describe('list', () => {
  test('shows embedded and imported sets, and names a broken one', async () => {
    await write({ 'data-sets/broken/split_zhou_X.json': '{', 'data-sets/mine/train/a/1.png': png(1) })
    const { out, result } = await run('list')
    expect(out).toMatch(/^mine +imported +1 +1 +0 +0$/m)
    expect(out).toMatch(/^emoji-kinds +embedded +38 +807 +198 +681$/m)
    expect(out).toMatch(/^oxford_pets +oxford_pets\/ +- +37 +2944 +736 +3669$/m)
    expect(out).toMatch(/broken cannot be read: .*split_zhou_X\.json is not JSON/)
    expect(result.data_sets).toContainEqual(
      expect.objectContaining({ name: 'broken', error: expect.objectContaining({ code: 'bad_data' }) }),
    )
  })
})

test('list says which sets of the papers are there', async () => {
  await writeMiniature(join(root, 'data'), 'oxford_flowers')
  await writeMiniature(join(root, 'data'), 'dtd') // without its split file
  const { out } = await run('list', '--root', join(root, 'data'))
  expect(out).toMatch(/^oxford_flowers +oxford_flowers\/ +yes +102 +4093 +1633 +2463$/m)
  expect(out).toMatch(/^dtd +dtd\/ +no /m)
})

describe('check', () => {
  const checks = (result: Record<string, unknown>) =>
    Object.fromEntries(
      (result.data_sets as { name: string; state: string; findings: { message: string; hint?: string }[] }[]).map(
        (one) => [one.name, one],
      ),
    )

  test('says of every set where it was expected and where it comes from', async () => {
    await mkdir(join(root, 'data'))
    const { code, result, out } = await run('check', '--root', join(root, 'data'))
    expect(code).toBe(4)
    const found = checks(result)
    expect(Object.keys(found).sort()).toEqual(MINIATURES.toSorted())
    expect(Object.values(found).every(({ state }) => state === 'absent')).toBe(true)
    expect(out).toContain(`dtd is absent, expected in ${join(root, 'data/dtd')}`)
    await run('check', '--root', join(root, 'data')) // and wrote nothing
    expect(await readdir(join(root, 'data'))).toEqual([])
  })

  test('counts what is there beside what is published, and writes no split', async () => {
    for (const name of MINIATURES) await writeMiniature(join(root, 'data'), name)
    const { code, result } = await run('check', '--root', join(root, 'data'))
    expect(code).toBe(3)
    const found = checks(result)
    for (const { state, findings } of Object.values(found)) {
      expect(state).toBe('incomplete')
      expect(findings.some(({ message }) => /\d+ classes, published are \d+/.test(message))).toBe(true)
    }
    expect(found.eurosat?.findings[0]).toEqual({
      message: `${join(root, 'data/eurosat/split_zhou_EuroSAT.json')} is missing; without it the set is cut as the original cuts it, which is another cut than the papers'`,
      hint: 'It comes from https://drive.google.com/file/d/1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o',
    })
    expect(await readdir(join(root, 'data/eurosat'))).toEqual(['2750'])
  })

  test('finds a whole set whole', async () => {
    // As many entries as published, of a hundred images: a list may name one twice, and a check opens none.
    const images = Array.from({ length: 100 }, (_, i) => String(i))
    const list = (n: number) => Array.from({ length: n }, (_, i) => `${i % 100} variant ${i % 100}`).join('\n')
    await write({
      'data/fgvc_aircraft/variants.txt': images.map((i) => `variant ${i}`).join('\n'),
      'data/fgvc_aircraft/images_variant_train.txt': list(3334),
      'data/fgvc_aircraft/images_variant_val.txt': list(3333),
      'data/fgvc_aircraft/images_variant_test.txt': list(3333),
      ...Object.fromEntries(images.map((i) => [`data/fgvc_aircraft/images/${i}.jpg`, ''])),
    })
    const { code, out } = await run('check', 'FGVCAircraft', '--root', join(root, 'data'))
    expect(out).toBe('fgvc_aircraft is whole: 100 classes, 3334 train, 3333 val, 3333 test')
    expect(code).toBe(0)
    await rm(join(root, 'data/fgvc_aircraft/images/99.jpg'))
    const { code: without, result } = await run('check', 'fgvc_aircraft', '--root', join(root, 'data'))
    expect(without).toBe(3)
    expect(checks(result).fgvc_aircraft?.findings[0]?.message).toBe(
      `1 listed image is missing: ${join(root, 'data/fgvc_aircraft/images/99.jpg')}`,
    )
  })

  test("knows how Kaggle's copies of Cars lie", async () => {
    await writeMiniature(join(root, 'data'), 'stanford_cars')
    const cars = join(root, 'data/stanford_cars')
    await rename(join(cars, 'cars_train'), join(cars, 'x'))
    await mkdir(join(cars, 'cars_train'))
    await rename(join(cars, 'x'), join(cars, 'cars_train/cars_train'))
    const { result } = await run('check', 'stanford_cars', '--root', join(root, 'data'))
    expect(checks(result).stanford_cars?.findings).toContainEqual({
      message: expect.stringContaining('6 listed images are missing'),
      hint: `There is ${join(cars, 'cars_train/cars_train')}: move its files one folder up.`,
    })
  })

  test('of one set that is missing, of none that is known, and without a folder', async () => {
    await writeMiniature(join(root, 'data'), 'dtd')
    const { code, out } = await run('check', 'sun397', '--root', join(root, 'data'))
    expect(code).toBe(4)
    expect(out).toContain('It comes from https://vision.princeton.edu')
    expect(out).toContain('It comes from https://drive.google.com/file/d/1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq')
    await expect(run('check', 'sun379', '--root', root)).rejects.toMatchObject({
      code: 'not_found',
      hint: expect.stringContaining('Did you mean sun397?'),
    })
    await expect(run('check', '--root', join(root, 'none'))).rejects.toMatchObject({ code: 'not_found' })
  })
})

describe('split', () => {
  test('writes what reads back as the same set, with the shots of a training', async () => {
    await writeMiniature(join(root, 'data'), 'oxford_pets')
    const out = join(root, 'data/oxford_pets/split_zhou_Mine.json')
    const options = ['--root', join(root, 'data'), '--out', out]
    const { result } = await run('split', 'oxford_pets', ...options, '--shots', '2', '--seed', '1')
    expect(result).toMatchObject({ train: 16, val: 4, test: 6 })
    const [ours, papers] = [await openPath(out), await openDataset('oxford_pets', { root: join(root, 'data') })]
    const rows = ({ train, val, test, classnames }: Dataset) => ({
      classnames,
      ...splitRows({ train, val, test }),
    })
    expect(rows(ours)).toEqual(rows(papers))
    expect(await ours.test[0]?.read()).toEqual(await papers.test[0]?.read())
    const few = (JSON.parse(await readFile(out, 'utf8')) as { few_shot: Record<string, string[]> }).few_shot
    const shots = await selectShots(papers, { shots: 2, seed: 1, classes: 'all', allow_fewer: false })
    expect(few.train).toEqual(shots.items.map(({ path }) => path))
    expect(few).toMatchObject({ shots: 2, seed: 1, val: { length: 4 } })
    await expect(run('split', 'oxford_pets', ...options)).rejects.toMatchObject({ code: 'exists' })
  })
})

describe('show', () => {
  test('counts an embedded set and finds nothing wrong with it', async () => {
    const { out, result } = await run('show', 'emoji-kinds')
    expect(out).toMatch(/^land vehicle +\d+ +\d+ +\d+$/m)
    expect(out).toContain('problems: none found')
    expect(result).toMatchObject({
      n_cls: 38,
      counts: { train: 807, val: 198, test: 681 },
      sizes: [{ width: 64, height: 64, count: 1686 }],
      fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/),
    })
  })

  test('lists every problem without stopping at one', async () => {
    await write({
      'photos/train/a/1.png': png(1),
      'photos/train/a/2.png': png(2, 9),
      'photos/train/a/broken.png': 'not a picture',
      'photos/train/b/1.png': png(2, 9),
      'photos/test/a/1.png': png(1),
      'photos/test/c/1.png': png(3),
    })
    const { out, result } = await run('show', join(root, 'photos'))
    const problems = result.problems as { kind: string; examples: string[] }[]
    expect(problems.map(({ kind }) => kind).sort()).toEqual([
      'no_test_images',
      'no_train_images',
      'one_image',
      'other_class_duplicates',
      'train_test_duplicates',
      'unreadable',
    ])
    const examples = (kind: string) => problems.find((problem) => problem.kind === kind)?.examples
    expect(examples('unreadable')?.[0]).toContain('photos/train/a/broken.png of class "a"')
    expect(examples('train_test_duplicates')).toEqual(['train/a/1.png (a) = test/a/1.png (a)'])
    expect(examples('other_class_duplicates')).toEqual(['train/a/2.png (a) = train/b/1.png (b)'])
    expect(examples('one_image')).toEqual(['b', 'c'])
    expect(result).toMatchObject({
      fingerprint: null,
      smallest: { classname: 'c', train: 0 },
      sizes: [
        { width: 8, height: 6, count: 3 },
        { width: 9, count: 2 },
      ],
    })
    expect(out).toContain('images that cannot be read: 1 (')
  })
})

describe('import', () => {
  test('makes a set in the layout of the originals, which is the set it was made from', async () => {
    await write(PHOTOS)
    const { result, out } = await run('import', join(root, 'photos'), '--name', 'my-photos')
    expect(result).toMatchObject({ n_cls: 2, train: 4, val: 2, test: 2, skipped: 0, path: join(sets, 'my-photos') })
    expect(out).toContain('my-photos: 2 classes, 4 train, 2 val, 2 test')
    expect(await readdir(sets)).toEqual(['my-photos'])
    expect((await readdir(join(sets, 'my-photos'))).sort()).toEqual(['images', 'split_zhou_MyPhotos.json'])
    expect(await readFile(join(sets, 'my-photos/images/cat/2.png'))).toEqual(PHOTOS['photos/cat/2.png'])
    const [before, after] = [await run('show', join(root, 'photos')), await run('show', 'my-photos')]
    expect(after.result.layout).toBe('split_zhou')
    expect(after.result.fingerprint).toBe(before.result.fingerprint)
    expect(result.fingerprint).toBe(before.result.fingerprint)
  })

  test('takes a CSV file, and links instead of copying', async () => {
    const rows = Object.keys(PHOTOS).map((path, i) => `${path},class ${i % 2},${['train', 'test'][i >> 2]}`)
    await write({ ...PHOTOS, 'set.csv': `path,label,split\n${rows.join('\n')}` })
    const { result } = await run('import', join(root, 'set.csv'), '--name', 'linked', '--link')
    expect(result).toMatchObject({ n_cls: 2, train: 4, val: 0, test: 4 })
    expect((await lstat(join(sets, 'linked/images/photos/cat/0.png'))).isSymbolicLink()).toBe(true)
    expect((await run('show', 'linked')).result.problems).toEqual([])
  })

  test('takes a split file that lists an image twice', async () => {
    const split = {
      train: [
        ['a.png', 0, 'a'],
        ['b.png', 1, 'b'],
      ],
      val: [['a.png', 0, 'a']],
      test: [['b.png', 1, 'b']],
    }
    await write({ 'x/split_zhou_X.json': JSON.stringify(split), 'x/a.png': png(1), 'x/b.png': png(2) })
    expect((await run('import', join(root, 'x'), '--name', 'x')).result).toMatchObject({ train: 2, val: 1, test: 1 })
  })

  test('unpacks parquet files into images with endings', async () => {
    const flowers = fileURLToPath(new URL('../../../fixtures/parquet/flowers', import.meta.url))
    await expect(run('import', flowers, '--name', 'flowers', '--link')).rejects.toMatchObject({ code: 'usage' })
    const { result } = await run('import', flowers, '--name', 'flowers')
    expect(result).toMatchObject({ n_cls: 3, train: 12, val: 3, test: 3, skipped: 0 })
    const image = join(sets, 'flowers/images/data/train-00001-of-00002/000001.png')
    expect(await readFile(image)).toEqual(png(8))
    expect((await run('show', 'flowers')).result.problems).toEqual([])
    await expect(run('split', flowers, '--out', join(root, 'x.json'))).rejects.toThrow('they lie in parquet files')
  })

  test('overwrites nothing without --force, and with it replaces all', async () => {
    await write({ ...PHOTOS, 'data-sets/mine/train/old/1.png': png(99) })
    await expect(run('import', join(root, 'photos'), '--name', 'mine')).rejects.toMatchObject({ code: 'exists' })
    expect(await readdir(join(sets, 'mine'))).toEqual(['train'])
    await run('import', join(root, 'photos'), '--name', 'mine', '--force')
    expect((await readdir(join(sets, 'mine'))).sort()).toEqual(['images', 'split_zhou_Mine.json'])
    expect(await readdir(sets)).toEqual(['mine'])
  })

  test('stops at a bad image, names it, and leaves nothing behind', async () => {
    await write({ ...PHOTOS, 'photos/cat/2.png': png(2).subarray(0, 45) })
    const path = join(root, 'photos/cat/2.png')
    await expect(run('import', join(root, 'photos'), '--name', 'mine')).rejects.toMatchObject({
      code: 'bad_image',
      message: expect.stringContaining(`${path} of class "cat"`),
    })
    expect(await readdir(sets)).toEqual([])
  })

  test('leaves nothing behind when it is stopped', async () => {
    await write(PHOTOS)
    signal = AbortSignal.abort()
    await expect(run('import', join(root, 'photos'), '--name', 'mine')).rejects.toMatchObject({ name: 'AbortError' })
    expect(await readdir(sets)).toEqual([])
  })

  test('goes on without bad images with --skip-bad, but not without a class', async () => {
    await write({ ...PHOTOS, 'photos/cat/2.png': 'text', 'photos/cat/3.png': '' })
    const { result, err } = await run('import', join(root, 'photos'), '--name', 'mine', '--skip-bad')
    expect(result).toMatchObject({ skipped: 2, n_cls: 2 })
    expect(err.match(/left out: .*photos\/cat\/[23]\.png of class "cat"/g)).toHaveLength(2)
    await write({ 'photos/cat/0.png': 'text', 'photos/cat/1.png': 'text' })
    await expect(run('import', join(root, 'photos'), '--name', 'other', '--skip-bad')).rejects.toMatchObject({
      code: 'too_few_images',
      message: 'class "cat" has no image left that can be read',
    })
    expect(await readdir(sets)).toEqual(['mine'])
  })

  test.each([
    [['import'], /import: the path of a folder or file is missing/],
    [['import', '.'], /--name is missing/],
    [['import', '.', '--name', '../x'], /--name: expected letters/],
    [['import', '.', '--name', 'emoji-kinds'], /emoji-kinds is the name of an embedded set/],
    [['show'], /show: NAME\|PATH is missing/],
    [['sohw'], /list\|show\|check\|import\|split/],
    [['check', 'dtd'], /check: --root is missing/],
    [['split', 'emoji-kinds'], /split: --out is missing/],
    [['list', '--nmae', 'x'], /unknown flag --nmae/],
  ])('%j is a usage error', async (args, message) => {
    await expect(run(...args)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(message),
    })
  })
})
