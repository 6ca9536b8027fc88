import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
// @ts-expect-error: a plain script without types
import { zip as untypedZip } from '../../../scripts/embed/zip.mjs'
import { Archive } from './archive.ts'

const zip = untypedZip as (files: Map<string, Buffer>) => Buffer
const EMBEDDED = fileURLToPath(new URL('../../../data', import.meta.url))

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archive-'))
})
afterAll(() => rm(folder, { recursive: true }))

const CONTENT = {
  'set/images/a/1.png': 'first',
  'set/images/b/2.png': 'second',
  'set/split.json': '{}',
  NOTICE: 'notice',
}

function small(files: Record<string, string> = CONTENT): Buffer {
  return zip(new Map(Object.entries(files).map(([path, text]) => [path, Buffer.from(text)])))
}

async function openBytes(bytes: Uint8Array): Promise<Archive> {
  const path = join(folder, 'x.zip')
  await writeFile(path, bytes)
  return Archive.open(path)
}

/** `bytes` with the text `from`, wherever it stands, made `to` of the same length. */
function replaced(bytes: Buffer, from: string, to: string): Buffer {
  return Buffer.from(bytes.toString('latin1').replaceAll(from, to), 'latin1')
}

describe('a sound archive', () => {
  test('gives folders and files back', async () => {
    const archive = await openBytes(small())
    expect(archive.folders()).toEqual(['set'])
    const files = archive.files('set')
    expect(await files.folders('images')).toEqual(['a', 'b'])
    expect(await files.files('')).toEqual(['split.json'])
    expect(await files.has('images/b/2.png')).toBe(true)
    expect(await files.has('images/b')).toBe(false)
    expect(String(await files.read('images/b/2.png'))).toBe('second')
    await expect(files.read('images/c.png')).rejects.toThrow('no such file')
  })

  test('is the same whatever the order of its files', () => {
    expect(small(Object.fromEntries(Object.entries(CONTENT).reverse()))).toEqual(small())
  })

  test('every embedded one has sound checksums, its notices and at most 10 MB', async () => {
    const names = (await readdir(EMBEDDED)).filter((name) => name.endsWith('.zip'))
    expect(names).toEqual(['emoji-backdrops.zip', 'emoji-kinds.zip'])
    for (const name of names) {
      const path = join(EMBEDDED, name)
      expect((await readFile(path)).length).toBeLessThanOrEqual(10_000_000)
      const archive = await Archive.open(path)
      expect(String(await archive.files('licenses').read('Apache-2.0.txt'))).toContain('Apache License')
      let read = 0
      for (const set of archive.folders()) {
        const files = archive.files(set)
        for (const folder of await files.folders('images')) {
          for (const file of await files.files(`images/${folder}`))
            read += (await files.read(`images/${folder}/${file}`)).length
        }
      }
      expect(read).toBeGreaterThan(5_000_000)
    }
  })
})

describe('a bad archive is refused', () => {
  test('cut off anywhere', async () => {
    const bytes = small()
    for (let length = 0; length < bytes.length; length += 7) {
      await expect(openBytes(bytes.subarray(0, length)), `${length} bytes`).rejects.toMatchObject({ code: 'bad_data' })
    }
  })

  test('with bytes before, between or behind', async () => {
    const bytes = small()
    await expect(openBytes(Buffer.concat([Buffer.from('x'), bytes]))).rejects.toThrow('truncated or damaged')
    await expect(openBytes(Buffer.concat([bytes, Buffer.from('x')]))).rejects.toThrow('its end is missing')
  })

  test.each([
    ['set/images/a/1.png', '../../../../../a/1', 'is not allowed'],
    ['set/images/a/1.png', '/et/images/a/1.png', 'is not allowed'],
    ['set/images/a/1.png', 'set//mages/a/1.png', 'is not allowed'],
    ['set/images/a/1.png', 'set\\images\\a\\1.p', 'is not allowed'],
    ['set/images/a/1.png', 'set/images/b/2.png', 'is not allowed'], // twice
  ])('whose %s is called %s', async (from, to, message) => {
    const bytes = replaced(small(), from, to.padEnd(from.length, 'x'))
    await expect(openBytes(bytes)).rejects.toThrow(message)
  })

  test('whose headers disagree, or with a compressed entry', async () => {
    const bytes = small()
    const central = bytes.readUInt32LE(bytes.length - 6)
    const withField = (offset: number, value: number) => {
      const copy = Buffer.from(bytes)
      copy.writeUInt16LE(value, offset)
      return copy
    }
    await expect(openBytes(withField(central + 10, 8))).rejects.toThrow('headers of NOTICE disagree')
    const compressed = withField(central + 10, 8)
    compressed.writeUInt16LE(8, 8)
    await expect(openBytes(compressed)).rejects.toThrow('NOTICE is not stored plainly')
    await expect(openBytes(withField(central + 42, 5))).rejects.toThrow('NOTICE lies outside')
    await expect(openBytes(withField(central + 20, 60000))).rejects.toThrow('NOTICE lies outside')
    await expect(openBytes(withField(bytes.length - 12, 3))).rejects.toThrow('bytes that no entry owns')
  })

  test('when a file is read whose checksum is wrong', async () => {
    const archive = await openBytes(replaced(small(), 'second', 'secand'))
    await expect(archive.files('set').read('images/b/2.png')).rejects.toThrow(
      'the checksum of set/images/b/2.png is wrong',
    )
  })
})
