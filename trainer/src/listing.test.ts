/** Which images the words of a command line name. */
import { mkdirSync, mkdtempSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { expect, test } from 'vitest'
import { writeMiniature } from '../../test/support/papers.ts'
import { listImages } from './listing.ts'

const home = mkdtempSync(join(tmpdir(), 'listing-'))
for (const path of ['b.png', 'a/z.JPG', 'a/y.webp', 'a/notes.txt', '.hidden/c.png', 'a/.d.gif', 'other/e.jpeg']) {
  mkdirSync(join(home, path, '..'), { recursive: true })
  writeFileSync(join(home, path), path)
}
mkdirSync(join(home, 'a/folder.png'))
symlinkSync(join(home, 'b.png'), join(home, 'a/link.png'))

test('a folder is all images below it, in one order; hidden ones and other files are left out', async () => {
  const found = await listImages([home])
  expect(found.map(({ path }) => relative(home, path))).toEqual([
    'a/link.png',
    'a/y.webp',
    'a/z.JPG',
    'b.png',
    'other/e.jpeg',
  ])
  expect(Buffer.from((await found[1]?.read()) ?? []).toString()).toBe('a/y.webp')
})

test('words keep their order; a file that is named is taken as it is', async () => {
  const words = [join(home, 'other'), join(home, 'a/notes.txt'), join(home, 'b.png')]
  expect((await listImages(words)).map(({ path }) => relative(home, path))).toEqual([
    'other/e.jpeg',
    'a/notes.txt',
    'b.png',
  ])
})

test('a file is another after a change, and the same however it is typed', async () => {
  const path = join(home, 'b.png')
  const one = async (word: string) => {
    const [image] = await listImages([word])
    return { id: image?.id, stamp: await image?.stamp() }
  }
  const before = await one(path)
  expect(await one(relative('.', path))).toEqual(before)
  expect(await one(join(home, 'a/../b.png'))).toEqual(before)
  utimesSync(path, 1000, 1000)
  expect(await one(path)).not.toEqual(before)
})

test('an embedded data set is named by its name', async () => {
  const found = await listImages(['emoji-kinds'])
  expect(found).toHaveLength(807 + 198 + 681)
  expect(found.at(-1)?.path).toMatch(/^emoji-kinds\/test\/.*\.png$/)
  expect(await found[0]?.stamp()).toMatch(/^[0-9a-f]{64}$/)
})

test('so is a part of one, and a set of the papers below its root', async () => {
  const part = await listImages(['emoji-kinds@noto-v1'])
  expect(part).toHaveLength(198 + 46 + 147)
  expect(part[0]?.path).toMatch(/^emoji-kinds@noto-v1\/train\/.*noto-v1.*\.png$/)
  const root = mkdtempSync(join(tmpdir(), 'listing-'))
  await writeMiniature(root, 'dtd')
  const found = await listImages(['dtd'], { root })
  expect(found[0]?.path).toMatch(/^dtd\/train\/.*\.jpg$/)
})

test('what is not there is named with what is near', async () => {
  await expect(listImages(['emoji-kind'])).rejects.toMatchObject({
    code: 'not_found',
    hint: expect.stringContaining('Did you mean emoji-kinds?'),
  })
  const empty = join(home, '.hidden', 'empty')
  mkdirSync(empty)
  await expect(listImages([empty])).rejects.toMatchObject({ code: 'bad_data' })
})
