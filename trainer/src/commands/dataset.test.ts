/** The command as a user types it, on folders of small pictures and with the real engine. */
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { crc32, deflateSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Context } from '../command.ts'
import { parseFlags } from '../flags.ts'
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

/** A picture of one colour; another `shade` gives other bytes. */
function png(shade: number, width = 8, height = 6): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data])
    return Buffer.concat([u32(data.length), body, u32(crc32(body))])
  }
  const header = Buffer.concat([u32(width), u32(height), Buffer.from([8, 0, 0, 0, 0])]) // 8 bits of grey
  const row = Buffer.concat([Buffer.from([0]), Buffer.alloc(width, shade)])
  const pixels = deflateSync(Buffer.concat(Array<Buffer>(height).fill(row)))
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10])
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', pixels), chunk('IEND', Buffer.alloc(0))])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

async function write(files: Record<string, Buffer | string>): Promise<void> {
  for (const [path, bytes] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), bytes)
  }
}

/** A sound set: two classes of four pictures, no two alike. */
const PHOTOS = Object.fromEntries(
  ['cat', 'big_dog'].flatMap((name, i) => [0, 1, 2, 3].map((j) => [`photos/${name}/${j}.png`, png(10 * i + j)])),
)

interface Run {
  result: Record<string, unknown>
  out: string
  err: string
}

async function run(...args: string[]): Promise<Run> {
  const [out, err]: [string[], string[]] = [[], []]
  const terminal = new Terminal({ write: (text) => err.push(text) }, false)
  const { options, given } = parseFlags(dataset, [...args, '--data-sets', sets], {})
  const context: Context = {
    terminal,
    given,
    print: (text) => void out.push(text),
    write: async (text) => void out.push(text),
    exit: () => undefined,
    signal,
  }
  const result = (await dataset.run(options, context)) as Record<string, unknown>
  return { result, out: out.join('\n'), err: err.join('') }
}

describe('list', () => {
  test('shows embedded and imported sets, and names a broken one', async () => {
    await write({ 'data-sets/broken/split_zhou_X.json': '{', 'data-sets/mine/train/a/1.png': png(1) })
    const { out, result } = await run('list')
    expect(out).toMatch(/^mine +imported +1 +1 +0 +0$/m)
    expect(out).toMatch(/^emoji-kinds +embedded +38 +807 +198 +681$/m)
    expect(out).toMatch(/broken cannot be read: .*split_zhou_X\.json is not JSON/)
    expect(result.data_sets).toContainEqual(
      expect.objectContaining({ name: 'broken', error: expect.objectContaining({ code: 'bad_data' }) }),
    )
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
    [['import'], /import: a folder, .csv or split_zhou_\*\.json is missing/],
    [['import', '.'], /--name is missing/],
    [['import', '.', '--name', '../x'], /--name: expected letters/],
    [['import', '.', '--name', 'emoji-kinds'], /emoji-kinds is the name of an embedded set/],
    [['show'], /show: NAME\|PATH is missing/],
    [['sohw'], /list\|show\|import/],
    [['list', '--nmae', 'x'], /unknown flag --nmae/],
  ])('%j is a usage error', async (args, message) => {
    await expect(run(...args)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(message),
    })
  })
})
