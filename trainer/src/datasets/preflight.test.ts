/** What is found before a training starts, and what stops it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { png, writeFiles } from '../../../test/support/pictures.ts'
import { Terminal } from '../terminal.ts'
import { openDataset, openPath } from './open.ts'
import { type Preflight, preflight } from './preflight.ts'

let root: string
let said: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'preflight-'))
  said = ''
})
afterEach(() => rm(root, { recursive: true }))

/** One token for each word or sign. */
const tokens = (text: string) => text.match(/\w+|[^\s\w]/g)?.length ?? 0
const PROMPT = { n_ctx: 4, context_length: 77, tokens }

async function check(options: Partial<Preflight> = {}): Promise<string[]> {
  const dataset = options.dataset ?? (await openPath(root))
  const { train, test, classnames } = dataset
  const context = {
    terminal: new Terminal({ write: (text) => (said += text) }, false),
    signal: new AbortController().signal,
  }
  const all = { dataset, train, test, classnames, prompt: PROMPT, skipBad: false, ...options }
  return (await preflight(all, context)).map(({ kind }) => kind)
}

const SOUND = {
  'train/cat/1.png': png(1),
  'train/dog/1.png': png(2),
  'train/dog/2.png': png(3, 9),
  'test/cat/3.png': png(4),
  'test/dog/3.png': png(5),
}

test('a sound set passes without a word', async () => {
  await writeFiles(root, SOUND)
  expect(await check()).toEqual([])
  expect(said).not.toContain('warning')
})

test('whole files are read only where their length and end are the same', async () => {
  await writeFiles(root, { ...SOUND, 'test/dog/copy.png': png(3, 9) })
  const dataset = await openPath(root)
  const reads = [...dataset.train, ...dataset.test].map((item) => vi.spyOn(item, 'read'))
  expect(await check({ dataset })).toEqual(['train_test_duplicates'])
  expect(reads.filter((read) => read.mock.calls.length > 0)).toHaveLength(2)
  expect(said).toContain('images in both train and test: 1 (train/dog/2.png (dog) = test/dog/copy.png (dog))')
})

test('files that only look the same are no duplicates', async () => {
  const tail = Buffer.alloc(200)
  const alike = (shade: number) => Buffer.concat([png(shade), tail])
  await writeFiles(root, { ...SOUND, 'train/cat/x.png': alike(8), 'test/cat/x.png': alike(9) })
  expect(await check()).toEqual([])
})

test('every other problem is a line, once', async () => {
  await writeFiles(root, {
    ...SOUND,
    'train/sea_lake/1.png': png(6),
    'train/Sea Lake/1.png': png(6),
    'train/Sea Lake/2.png': png(7),
    'test/bird/1.png': png(8),
  })
  expect((await check()).sort()).toEqual(
    ['other_class_duplicates', 'one_image', 'no_train_images', 'no_test_images', 'equal_names'].sort(),
  )
  expect(said).toContain('class names that are the same to a prompt: 1 ("Sea Lake" (0) = "sea_lake" (4))')
  expect(said).toContain('classes without test images: 2 (Sea Lake; sea_lake)')
  expect(said.match(/one image|single image/g)).toHaveLength(1)
})

test.each([
  ['text', 'is no image'],
  ['', 'is empty'],
])('a test image that is %j stops the run before it starts, unless it may go', async (text, why) => {
  await writeFiles(root, { ...SOUND, 'test/cat/bad.png': text })
  const message = `${root.slice(root.lastIndexOf('/') + 1)}: images that cannot be read: 1 (${root}/test/cat/bad.png of class "cat" ${why})`
  await expect(check()).rejects.toMatchObject({ code: 'bad_data', message })
  expect(await check({ skipBad: true })).toEqual(['unreadable'])
  expect(said).toContain(why)
})

test('a file that is gone stops it too', async () => {
  await writeFiles(root, SOUND)
  const dataset = await openPath(root)
  await rm(join(root, 'train/dog/2.png'))
  await expect(check({ dataset })).rejects.toThrow('train/dog/2.png of class "dog" cannot be read: ENOENT')
})

test('a class name must leave room for the context and three tokens more', async () => {
  const name = Array(70).fill('very').join(' ')
  await writeFiles(root, SOUND)
  expect(await check({ classnames: [name], prompt: { ...PROMPT, n_ctx: 4 } })).toEqual([]) // 4 + 70 + 3
  await expect(check({ classnames: ['cat', name], prompt: { ...PROMPT, n_ctx: 5 } })).rejects.toMatchObject({
    code: 'text_too_long',
    message: expect.stringContaining('longer than 77 tokens with 5 of context: 1 ("very very'),
  })
  expect(await check({ classnames: [name], prompt: undefined })).toEqual([])
})

test('what is embedded is sound', async () => {
  const dataset = await openDataset('emoji-kinds')
  expect(await check({ dataset })).toEqual([])
})
