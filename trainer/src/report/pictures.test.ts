/** Pictures of a page: a PNG that decodes to the pixels that went in, made of what the model sees. */
import { wasmEngine } from 'cocoop/node'
import { expect, test } from 'vitest'
import { openDataset } from '../datasets/open.ts'
import { draws } from '../testing/report-runs.ts'
import { Pictures, SIDE } from './pictures.ts'
import { encodePng } from './png.ts'

test('a PNG holds its pixels', async () => {
  const engine = await wasmEngine()
  const draw = draws(1)
  const [side, n] = [48, 48 * 48 * 3]
  const noise = Uint8Array.from({ length: n }, () => Math.floor(256 * draw()))
  const slope = Uint8Array.from({ length: n }, (_, i) => (Math.floor(i / 3) % side) * 5 + (i % 3))
  for (const pixels of [noise, slope, new Uint8Array(n)]) {
    const file = encodePng(pixels, side, side)
    expect(engine.view(file, side)).toEqual(pixels) // of its own size, so that nothing is scaled
  }
  expect(encodePng(slope, side, side).length).toBeLessThan(1000) // filtered, or it would be some 7 kB
  expect(() => encodePng(noise, 47, 48)).toThrow(RangeError)
})

test('pictures are the middle of what is there, each made once, until the page is full', async () => {
  const { test: items } = await openDataset('emoji-kinds')
  const pictures = new Pictures()
  const source = { target: 'emoji-kinds', root: undefined, name: 'emoji-kinds', split: 'test' }
  const [first = '', second = ''] = items.map(({ path }) => path)
  expect(await pictures.get(source, first)).toBeUndefined() // nothing is allowed yet
  pictures.allow(20_000)
  const url = (await pictures.get(source, first)) ?? ''
  expect(url).toMatch(/^data:image\/png;base64,/)
  const engine = await wasmEngine()
  const shown = engine.view(Buffer.from(url.split(',')[1] ?? '', 'base64'), SIDE)
  expect(shown).toEqual(engine.view((await items[0]?.read()) ?? new Uint8Array(), SIDE))
  expect(await pictures.get(source, first)).toBe(url)
  pictures.allow(url.length - 1)
  expect(await pictures.get(source, first)).toBeUndefined()
  expect([...pictures.notes]).toEqual(['Some pictures are left out to keep this page small.'])
  pictures.allow(1e6)
  expect(await pictures.get(source, second)).not.toBe(url)
  expect(await pictures.get(source, 'nothing.png')).toBeUndefined()
  expect(await pictures.get({ target: './gone', root: undefined, name: 'gone', split: 'test' }, first)).toBeUndefined()
  expect([...pictures.notes].slice(1)).toEqual([
    'The data set emoji-kinds no longer holds some of the pictures that were tested.',
    expect.stringContaining('There are no pictures: the data set gone cannot be opened'),
  ])
})
