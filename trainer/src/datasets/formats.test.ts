/** Sets of one's own beside folders and CSV: JSON lines, imagefolders with metadata, parquet files that Arrow wrote. */
import { cp, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parquetMetadata } from 'hyparquet'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { png, writeFiles } from '../../../test/support/pictures.ts'
import { type Dataset, everyItem, SPLITS } from './dataset.ts'
import { openPath } from './open.ts'

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'formats-'))
})
afterEach(() => rm(root, { recursive: true }))

function listed(dataset: Dataset): Record<string, string[]> {
  const show = ({ path, classname }: { path: string; classname: string }) => `${path} ${classname}`
  return Object.fromEntries(SPLITS.map((split) => [split, dataset[split].map(show)]))
}

function lines(...rows: unknown[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('')
}

describe('JSON lines', () => {
  const open = async (text: string) => {
    await writeFiles(root, { 'set.jsonl': text })
    return openPath(join(root, 'set.jsonl'))
  }

  test('with splits, other fields, and either name of the path', async () => {
    const dataset = await open(
      `\uFEFF${lines(
        { path: 'a/1.png', label: 'cat', split: 'train', width: 8 },
        { file_name: './2.png', label: ' big dog ', split: 'validation' },
      )}\r\n${lines({ path: join(root, '3.png'), label: 'cat', split: 'test' })}`,
    )
    expect(dataset).toMatchObject({ layout: 'jsonl', name: 'set', classnames: ['big dog', 'cat'] })
    expect(listed(dataset)).toEqual({ train: ['a/1.png cat'], val: ['2.png big dog'], test: ['3.png cat'] })
  })

  test('whole numbers are labels in the order of numbers; without splits every class is cut', async () => {
    const dataset = await open(
      lines(...Array.from({ length: 20 }, (_, i) => ({ path: `${i}.png`, label: 9 + (i % 2) }))),
    )
    expect(dataset.classnames).toEqual(['9', '10'])
    expect(SPLITS.map((split) => dataset[split].length)).toEqual([10, 4, 6])
  })

  test.each([
    ['{"path": "1.png"}\n', 'bad_data', 'line 1: "label": '],
    ['{"label": "a"}\n', 'bad_data', 'line 1: "path" (or "file_name") is missing'],
    ['{"path": "1.png", "label": 1.5}\n', 'bad_data', 'line 1: "label": '],
    ['\n[1]\n', 'bad_data', 'line 2: expected object'],
    ['{"path": "1.png", "label": "a"}\n{"path"\n', 'bad_data', 'line 2 is not JSON'],
    ['{"path": "1.png", "label": " "}\n', 'bad_classes', 'line 1: the label is empty'],
    ['{"path": "../1.png", "label": "a"}\n', 'bad_data', 'line 1: ../1.png leads outside'],
    [
      '{"path": "1.png", "label": "a"}\n{"path": "./1.png", "label": "b"}\n',
      'bad_data',
      'line 2: 1.png is in line 1 already',
    ],
    [
      '{"path": "1.png", "label": "a", "split": "train"}\n{"path": "2.png", "label": "a"}\n',
      'bad_data',
      'line 2: split: expected train, val, test, got ""',
    ],
    ['{"path": "1.png", "label": "a", "split": "holdout"}\n', 'bad_data', 'got "holdout"'],
    ['', 'bad_classes', 'lists no images'],
  ])('refuses %j', async (text, code, message) => {
    await expect(open(text)).rejects.toMatchObject({ code, message: expect.stringContaining(message) })
  })
})

describe('imagefolder', () => {
  test('with metadata.csv in each split', async () => {
    await writeFiles(root, {
      'train/metadata.csv': 'file_name,label,text\n1.png,cat,x\nmore/2.png,dog,y\n',
      'validation/metadata.csv': 'file_name,label\n1.png,cat\n',
      'test/metadata.csv': 'file_name,label\n1.png,dog\n',
      'test/1.png': png(1),
    })
    const dataset = await openPath(root)
    expect(dataset).toMatchObject({ layout: 'imagefolder', classnames: ['cat', 'dog'] })
    expect(listed(dataset)).toEqual({
      train: ['train/1.png cat', 'train/more/2.png dog'],
      val: ['validation/1.png cat'],
      test: ['test/1.png dog'],
    })
    expect(await dataset.test[0]?.read()).toEqual(png(1))
  })

  test('with metadata.jsonl at the top, whose paths begin with the split', async () => {
    await writeFiles(root, {
      'metadata.jsonl': lines({ file_name: 'train/1.png', label: 3 }, { file_name: 'test/2.png', label: 20 }),
      'train/1.png': png(1),
    })
    const dataset = await openPath(root)
    expect(dataset.classnames).toEqual(['3', '20'])
    expect(listed(dataset)).toEqual({ train: ['train/1.png 3'], val: [], test: ['test/2.png 20'] })
  })

  test('without labels in its metadata is a folder of class folders', async () => {
    await writeFiles(root, {
      'train/metadata.csv': 'file_name,text\ncat/1.png,a cat\n',
      'train/cat/1.png': png(1),
      'test/cat/2.png': png(2),
    })
    expect(await openPath(root)).toMatchObject({ layout: 'folders', classnames: ['cat'] })
  })

  test('names the file and the line of what is wrong', async () => {
    await writeFiles(root, {
      'train/metadata.csv': 'file_name,label\n1.png,cat\n',
      'validation/metadata.csv': 'file_name,label\n1.png,cat\n../train/1.png,dog\n',
    })
    await expect(openPath(root)).rejects.toThrow(
      `${root}/validation/metadata.csv, line 3: train/1.png is in ${root}/train/metadata.csv, line 2 already`,
    )
  })
})

describe('parquet', () => {
  const FIXTURES = fileURLToPath(new URL('../../../fixtures/parquet', import.meta.url))

  test('with splits in the names, class names in the metadata, snappy, gzip and zstd', async () => {
    const dataset = await openPath(join(FIXTURES, 'flowers'))
    expect(dataset).toMatchObject({
      layout: 'parquet',
      name: 'flowers',
      classnames: ['daisy', 'globe_thistle', 'rose'],
    })
    expect(SPLITS.map((split) => dataset[split].map(({ label }) => label))).toEqual([
      [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2],
      [0, 1, 2],
      [2, 1, 0], // those without a label are left out
    ])
    const shades = [...Array(15).keys(), 15, 16, 18]
    const read = await Promise.all([...everyItem(dataset)].map(({ item }) => item.read()))
    expect(read.map((bytes) => Buffer.from(bytes))).toEqual(shades.map((shade) => png(shade)))
    expect(dataset.train[8]).toMatchObject({ path: 'data/train-00001-of-00002/000001' })
    expect(await dataset.train[3]?.peek()).toMatchObject({ size: png(3).length })
  })

  test.each([
    ['words', ['land', 'sea']],
    ['numbers', ['9', '10']],
  ])('%s: one file without splits is cut; labels are the names', async (name, classnames) => {
    const dataset = await openPath(join(FIXTURES, `${name}.parquet`))
    expect(dataset).toMatchObject({ name, classnames })
    expect(SPLITS.map((split) => dataset[split].length)).toEqual([6, 2, 4])
    for (const { item } of everyItem(dataset))
      expect(Buffer.from(await item.read()).toString('latin1', 1, 4)).toBe('PNG')
  })

  test('reads a row group once for all that is asked of it, and hands out copies', async () => {
    const dataset = await openPath(join(FIXTURES, 'flowers'))
    const [first, again] = await Promise.all([dataset.train[0]?.read(), dataset.train[0]?.read()])
    first?.fill(0)
    expect(Buffer.from(again ?? [])).toEqual(png(0))
    expect(first?.buffer.byteLength).toBe(png(0).length)
  })

  test.each([
    [10, 'is no parquet file that can be read'],
    [900, 'is no parquet file that can be read'],
  ])('a file of which %d bytes are left is refused', async (length, message) => {
    const path = join(root, 'cut.parquet')
    await cp(join(FIXTURES, 'words.parquet'), path)
    await truncate(path, length)
    await expect(openPath(path)).rejects.toMatchObject({ code: 'bad_data', message: expect.stringContaining(message) })
  })

  test('a file whose pages are damaged names the image that cannot be read', async () => {
    const path = join(root, 'train-damaged.parquet')
    const bytes = await readFile(join(FIXTURES, 'flowers/data/train-00000-of-00002.parquet'))
    const { row_groups } = parquetMetadata(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
    const start = Number(row_groups[0]?.columns[0]?.meta_data?.data_page_offset)
    await writeFile(path, bytes.fill(255, start, start + 40))
    const dataset = await openPath(path)
    const item = [...everyItem(dataset)].find(({ item }) => item.path.endsWith('/000000'))?.item
    await expect(item?.read()).rejects.toMatchObject({
      code: 'bad_data',
      message: expect.stringContaining('/000000 of class "daisy" cannot be read'),
    })
  })

  test('files that say splits and files that say none do not go together', async () => {
    await cp(join(FIXTURES, 'flowers/data/train-00000-of-00002.parquet'), join(root, 'train-0.parquet'))
    await cp(join(FIXTURES, 'flowers/data/train-00001-of-00002.parquet'), join(root, 'extra.parquet'))
    await expect(openPath(root)).rejects.toThrow("extra.parquet: its name says no split, others' do")
  })
})
