/** The three layouts, good and bad: split_zhou, class folders, CSV; and how a name finds its set. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Dataset, everyItem } from './dataset.ts'
import { fingerprint } from './fingerprint.ts'
import { namedDatasets, openDataset, openPath } from './open.ts'

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'datasets-'))
})
afterEach(() => rm(root, { recursive: true }))

/** Writes files below the test's folder; the readers never look into images, so their text is their path. */
async function write(files: Record<string, string> | string[]): Promise<void> {
  const entries = Array.isArray(files) ? files.map((path) => [path, path]) : Object.entries(files)
  for (const [path = '', text = ''] of entries) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), text)
  }
}

function images(folder: string, n: number): string[] {
  return Array.from({ length: n }, (_, i) => `${folder}/${String(i).padStart(2, '0')}.png`)
}

function paths(dataset: Dataset): Record<string, string[]> {
  const { train, val, test } = dataset
  return { train: train.map(({ path }) => path), val: val.map(({ path }) => path), test: test.map(({ path }) => path) }
}

describe('split_zhou', () => {
  const SPLIT = {
    train: [
      ['a/1.png', 1, 'cat'],
      ['b/2.png', 0, 'big_dog'],
    ],
    val: [],
    test: [['b/3.png', 0, 'big_dog']],
  }
  const FILES = ['a/1.png', 'b/2.png', 'b/3.png']
  const writeSplit = (split: unknown, base = 'images/') =>
    write({
      'split_zhou_X.json': JSON.stringify(split),
      ...Object.fromEntries(FILES.map((file) => [base + file, file])),
    })

  test.each(['images/', '', 'jpg/', '101_ObjectCategories/'])('finds its images in "%s"', async (base) => {
    await writeSplit(SPLIT, base)
    const dataset = await openPath(root)
    expect(dataset).toMatchObject({ layout: 'split_zhou', classnames: ['big_dog', 'cat'], root })
    expect(dataset.train).toMatchObject([
      { path: 'a/1.png', label: 1, classname: 'cat' },
      { path: 'b/2.png', label: 0 },
    ])
    expect(dataset.val).toEqual([])
    expect(String(await dataset.test[0]?.read())).toBe('b/3.png')
  })

  test('can be named itself', async () => {
    await writeSplit(SPLIT)
    expect((await openPath(join(root, 'split_zhou_X.json'))).train).toHaveLength(2)
    await write({ 'split_zhou_Y.json': '{}' })
    await expect(openPath(root)).rejects.toThrow('holds split_zhou_X.json and split_zhou_Y.json')
  })

  test.each([
    [{ train: [], val: [], test: [] }, 'bad_classes', 'lists no images'],
    [
      {
        train: [
          ['a/1.png', 2, 'cat'],
          ['b/2.png', 0, 'dog'],
        ],
        val: [],
        test: [],
      },
      'bad_label',
      'no image has the label 1, though labels go to 2',
    ],
    [
      {
        train: [
          ['a/1.png', 0, 'cat'],
          ['b/2.png', 0, 'dog'],
        ],
        val: [],
        test: [],
      },
      'bad_label',
      'label 0 is "cat", but "dog" for b/2.png',
    ],
    [
      { train: [['a/1.png', 0, 'cat']], val: [], test: [['b/2.png', 1, 'cat']] },
      'bad_classes',
      'class "cat" has the labels 0 and 1',
    ],
    [
      { train: [['../x.png', 0, 'cat']], val: [], test: [] },
      'bad_data',
      'train[0], class "cat": ../x.png leads outside',
    ],
    [{ train: [['/etc/passwd', 0, 'cat']], val: [], test: [] }, 'bad_data', 'leads outside the data set'],
    [{ train: [['a\\1.png', 0, 'cat']], val: [], test: [] }, 'bad_data', 'write paths with /'],
    [{ train: [['a/1.png', '0', 'cat']], val: [], test: [] }, 'bad_data', 'train[0][1]: expected number'],
    [{ train: [['a/1.png', -1, 'cat']], val: [], test: [] }, 'bad_data', 'train[0][1]'],
    [{ train: [['a/1.png', 0]], val: [], test: [] }, 'bad_data', 'train[0]'],
    [{ train: [['a/1.png', 0, '']], val: [], test: [] }, 'bad_data', 'train[0][2]'],
    [{ train: [], val: [] }, 'bad_data', 'test: expected array'],
    [{ train: [['a/none.png', 0, 'cat']], val: [], test: [] }, 'bad_data', 'a/none.png of class "cat" is missing'],
  ])('refuses %j', async (split, code, message) => {
    await writeSplit(split)
    const error = await openPath(root).catch((error: unknown) => error)
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) })
    expect(error).toMatchObject({ message: expect.stringContaining('split_zhou_X.json') })
  })

  test('refuses what is not JSON', async () => {
    await write({ 'split_zhou_X.json': '{"train": [' })
    await expect(openPath(root)).rejects.toThrow('split_zhou_X.json is not JSON')
  })

  test('names a file that is missing when it is read, and its class', async () => {
    await writeSplit(SPLIT)
    await rm(join(root, 'images/b/3.png'))
    const dataset = await openPath(root)
    await expect(dataset.test[0]?.read()).rejects.toMatchObject({
      code: 'bad_data',
      message: `${root}/images/b/3.png of class "big_dog" cannot be read: ENOENT: no such file or directory`,
    })
  })
})

describe('class folders', () => {
  test('with splits', async () => {
    await write([
      'train/b/1.png',
      'train/a/x/2.JPG',
      'test/a/3.webp',
      'test/a/notes.txt',
      'test/a/.hidden.png',
      'train/.git/x.png',
    ])
    const dataset = await openPath(root)
    expect(dataset.classnames).toEqual(['a', 'b'])
    expect(paths(dataset)).toEqual({ train: ['train/a/x/2.JPG', 'train/b/1.png'], val: [], test: ['test/a/3.webp'] })
  })

  test('without splits are cut 50/20/30 per class, the same in every run', async () => {
    await write([...images('train', 10), ...images('cat', 10), ...images('dog', 3)]) // a class may be called train
    const dataset = await openPath(root, 7)
    expect(dataset.classnames).toEqual(['cat', 'dog', 'train'])
    const count = (items: { classname: string }[], name: string) =>
      items.filter(({ classname }) => classname === name).length
    expect([dataset.train, dataset.val, dataset.test].map((items) => count(items, 'cat'))).toEqual([5, 2, 3])
    expect([dataset.train, dataset.val, dataset.test].map((items) => count(items, 'dog'))).toEqual([1, 1, 1])
    expect(paths(await openPath(root, 7))).toEqual(paths(dataset))
    expect(paths(await openPath(root, 8))).not.toEqual(paths(dataset))
    const all = [...everyItem(dataset)].map(({ item }) => item.path)
    expect(new Set(all).size).toBe(23)
  })

  test('of one class do not move when another class grows', async () => {
    await write([...images('cat', 9), ...images('dog', 3)])
    const cats = ({ train, val, test }: Dataset) =>
      [train, val, test].map((items) => items.filter(({ classname }) => classname === 'cat').map(({ path }) => path))
    const before = cats(await openPath(root))
    await write(images('dog', 9))
    expect(cats(await openPath(root))).toEqual(before)
  })

  test('are sorted by code point, not by a locale', async () => {
    await write(['é', 'Z', 'a', '𝒜', 'ｚ'].flatMap((name) => images(name, 3)))
    expect((await openPath(root)).classnames).toEqual(['Z', 'a', 'é', 'ｚ', '𝒜'])
  })

  test('follow links to images, as an import with --link makes them', async () => {
    await write(['elsewhere/1.png', 'set/train/a/0.png', 'set/test/a/0.png'])
    await symlink(join(root, 'elsewhere/1.png'), join(root, 'set/train/a/1.png'))
    expect((await openPath(join(root, 'set'))).train.map(({ path }) => path)).toEqual([
      'train/a/0.png',
      'train/a/1.png',
    ])
  })

  test.each([
    [['x.png'], 'bad_classes', 'has no class folders'],
    [['a/1.png', 'a/2.png'], 'too_few_images', 'class "a" has 2 images, 3 are needed'],
    [['a/1.png'], 'too_few_images', 'class "a" has 1 image, 3 are needed'],
    [['train/a/1.png', 'train/b/readme.txt'], 'too_few_images', '/train: class "b" has no images'],
    [['train/a/1.png', 'test/x.png'], 'bad_classes', '/test has no class folders'],
  ])('refuses %j', async (files, code, message) => {
    await write(files)
    await expect(openPath(root)).rejects.toMatchObject({ code, message: expect.stringContaining(message) })
  })
})

describe('CSV', () => {
  const open = async (text: string) => {
    await write({ 'set.csv': text })
    return openPath(join(root, 'set.csv'))
  }

  test('with quotes, a BOM, CRLF, spaces, absolute paths and more columns', async () => {
    const dataset = await open(
      `\uFEFFPath, Label,split,note\r\n"a, b/1.png","cat, ""big""",train,\r\n./2.png,dog,test,"two\nlines"\r\n\r\n${root}/3.png,dog,val,\r\n`,
    )
    expect(dataset.classnames).toEqual(['cat, "big"', 'dog'])
    expect(paths(dataset)).toEqual({ train: ['a, b/1.png'], val: ['3.png'], test: ['2.png'] })
  })

  test('without a split column is cut per class', async () => {
    const dataset = await open(
      `path,label\n${images('x', 10)
        .map((path) => `${path},only`)
        .join('\n')}`,
    )
    expect([dataset.train.length, dataset.val.length, dataset.test.length]).toEqual([5, 2, 3])
  })

  test.each([
    ['file,class\nx.png,a', 'bad_data', 'line 1: expected a header path,label[,split], got "file,class"'],
    ['', 'bad_classes', 'lists no images'],
    ['path,label\n', 'bad_classes', 'lists no images'],
    ['path,label\n1.png,a\n2.png,\n', 'bad_classes', 'line 3: the label is empty'],
    ['path,label\n,a\n', 'bad_data', 'line 2: the path is empty'],
    ['path,label\n1.png,a\n../2.png,a\n', 'bad_data', 'line 3: ../2.png leads outside'],
    ['path,label\n/etc/1.png,a\n', 'bad_data', 'line 2'],
    ['path,label,split\n1.png,a,training\n', 'bad_data', 'line 2: split: expected train, val, test, got "training"'],
    ['path,label\n1.png,a\n2.png,b\n./1.png,b\n', 'bad_data', 'line 4: 1.png is in line 2 already'],
    ['path,label\n1.png,a\n2.png,a,b\n', 'bad_data', 'line 3'],
    ['path,label\n"1.png,a\n', 'bad_data', 'line'],
    ['path,label\n1.png,a\n2.png,a\n', 'too_few_images', 'class "a" has 2 images'],
  ])('refuses %j', async (text, code, message) => {
    const error = await open(text).catch((error: unknown) => error)
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) })
    expect(error).toMatchObject({ message: expect.stringContaining('set.csv') })
  })
})

describe('finding a set', () => {
  test('the embedded ones are there, with their figures', async () => {
    const sets = await namedDatasets({ data_sets: root })
    expect(sets.map(({ name }) => name)).toEqual([
      'emoji-backdrops',
      'emoji-backdrops-dark',
      'emoji-backdrops-noisy',
      'emoji-backdrops-pixelated',
      'emoji-backdrops-sketch',
      'emoji-kinds',
    ])
    const counts = await Promise.all(
      sets.map(async ({ open }) => {
        const { classnames, train, val, test } = await open()
        return [classnames.length, train.length, val.length, test.length]
      }),
    )
    expect(counts).toEqual([
      [20, 400, 80, 800],
      [20, 0, 0, 160],
      [20, 0, 0, 160],
      [20, 0, 0, 160],
      [20, 0, 0, 160],
      [38, 807, 198, 681],
    ])
  })

  test('imported ones are listed first, hidden folders not at all', async () => {
    await write([...images('mine/a', 3), ...images('.mine.1.tmp/a', 3)])
    expect(
      (await namedDatasets({ data_sets: root, embedded: join(root, 'none') })).map(({ name, source }) => [
        name,
        source,
      ]),
    ).toEqual([['mine', 'imported']])
    expect((await openDataset('mine', { data_sets: root })).train).toHaveLength(1)
  })

  test('an unknown name gets the nearest one and the list', async () => {
    await expect(openDataset('emoji-kidns', { data_sets: root })).rejects.toMatchObject({
      code: 'not_found',
      message: 'there is no data set and no folder or file called emoji-kidns',
      hint: expect.stringMatching(/^Did you mean emoji-kinds\? Known sets: emoji-backdrops, .*emoji-kinds\./),
    })
  })

  test('a file of another kind is refused', async () => {
    await write(['x.txt'])
    await expect(openPath(join(root, 'x.txt'))).rejects.toThrow(
      'neither a folder nor a .csv, .jsonl, .parquet or split_zhou_*.json',
    )
  })
})

test('the fingerprint follows bytes, paths, labels, names and splits, and nothing else', async () => {
  await write(['train/a/1.png', 'train/b/1.png', 'test/a/2.png'])
  const print = async () => fingerprint(await openPath(root))
  const first = await print()
  expect(first).toMatch(/^[0-9a-f]{64}$/)
  const seen = new Set([first])
  for (const files of [
    { 'train/a/1.png': 'other bytes' },
    { 'train/a/3.png': 'x' },
    { 'test/c/1.png': 'x' },
    { 'val/a/1.png': 'x' },
  ]) {
    await write(files)
    seen.add(await print())
  }
  expect(seen.size).toBe(5)
  await rm(join(root, 'val'), { recursive: true })
  await rm(join(root, 'test/c'), { recursive: true })
  await rm(join(root, 'train/a/3.png'))
  await write(['train/a/1.png'])
  expect(await print()).toBe(first)
})
