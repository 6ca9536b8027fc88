/** The cache of features: what is found again, what must not be, and what happens to damaged and old files. */
import { mkdtempSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { cacheFolder, FeatureCache } from './feature-cache.ts'
import { Terminal } from './terminal.ts'

const newFolder = () => mkdtempSync(join(tmpdir(), 'cache-'))
function open(folder: string, { sha256 = 'a', enabled = true, version = '1', maxBytes = 1e6 } = {}) {
  const said: string[] = []
  const terminal = new Terminal({ write: (text) => said.push(text) }, false)
  const engine = { name: 'napi', version: () => version }
  const model = { info: { sha256 } } as ConstructorParameters<typeof FeatureCache>[0]['model']
  return { said, cache: new FeatureCache({ engine, model, terminal, enabled, folder, maxBytes }) }
}
const entry = { note: [['é.png', '1']], features: Float32Array.of(1, -2.5, 3e-8) }

test('what was kept is found again, under the same key only', async () => {
  const folder = newFolder()
  const { cache } = open(folder)
  await cache.put({ texts: ['a'] }, entry)
  expect(await cache.get({ texts: ['a'] })).toEqual(entry)
  expect(await cache.get({ texts: ['b'] })).toBeUndefined()
})

test.each([{ sha256: 'b' }, { version: '2' }])('what another model or version made is not used: %o', async (other) => {
  const folder = newFolder()
  await open(folder).cache.put({ texts: ['a'] }, entry)
  const { cache, said } = open(folder, other)
  expect(await cache.get({ texts: ['b'] })).toBeUndefined()
  expect(said).toEqual([])
  expect(await cache.get({ texts: ['a'] })).toBeUndefined()
  expect(await cache.get({ texts: ['a'] })).toBeUndefined()
  expect(said.join('')).toBe('the cache has these features of another model or version: they are computed anew\n')
  const made = { ...entry, features: Float32Array.of(7) }
  await cache.put({ texts: ['a'] }, made)
  expect(await cache.get({ texts: ['a'] })).toEqual(made)
  expect(await open(folder).cache.get({ texts: ['a'] })).toEqual(entry)
})

test('--no-cache finds nothing and keeps nothing', async () => {
  const folder = newFolder()
  await open(folder).cache.put('k', entry)
  const { cache } = open(folder, { enabled: false })
  expect(await cache.get('k')).toBeUndefined()
  await cache.put('other', entry)
  expect(readdirSync(folder)).toHaveLength(1)
})

test('a file that was damaged anywhere reads as missing, and is written again', async () => {
  const folder = newFolder()
  const { cache, said } = open(folder)
  await cache.put('k', entry)
  const path = join(folder, readdirSync(folder)[0] ?? '')
  const whole = readFileSync(path)
  for (let at = 0; at < whole.length; at++) {
    const damaged = Buffer.from(whole)
    damaged[at] = (damaged[at] ?? 0) ^ 1
    writeFileSync(path, damaged)
    expect(await cache.get('k'), `byte ${at}`).toBeUndefined()
    writeFileSync(path, whole.subarray(0, at))
    expect(await cache.get('k'), `${at} bytes`).toBeUndefined()
  }
  expect(new Set(said)).toEqual(new Set([`warning: ${path} is damaged: its features are computed again\n`]))
  await cache.put('k', entry)
  expect(await cache.get('k')).toEqual(entry)
})

test('what was used least recently goes when the folder is full', async () => {
  const folder = newFolder()
  const big = { note: null, features: new Float32Array(50) } // 240 bytes with its hash and note
  const { cache } = open(folder, { maxBytes: 800 })
  for (const key of ['a', 'b', 'c']) await cache.put(key, big)
  const all = readdirSync(folder)
  expect(all).toHaveLength(3)
  for (const name of all) utimesSync(join(folder, name), 1000, 1000)
  expect(await cache.get('a')).toEqual(big)
  expect(await cache.get('c')).toEqual(big)
  await cache.put('d', big)
  expect(await cache.get('b')).toBeUndefined()
  for (const key of ['a', 'c', 'd']) expect(await cache.get(key), key).toEqual(big)
  await cache.put('too large', { note: null, features: new Float32Array(300) })
  expect(readdirSync(folder)).toHaveLength(3)
})

test('a folder that cannot be written is one warning', async () => {
  const file = join(newFolder(), 'file')
  writeFileSync(file, '')
  const { cache, said } = open(join(file, 'below'))
  await cache.put('a', entry)
  await cache.put('b', entry)
  expect(said.join('')).toMatch(/^warning: features are not kept in .*\n$/)
})

test('the folder is that of the environment', () => {
  expect(cacheFolder({ COCOOP_CACHE: '/c' })).toBe('/c')
  expect(cacheFolder({ XDG_CACHE_HOME: '/x' })).toBe('/x/cocoop')
})
