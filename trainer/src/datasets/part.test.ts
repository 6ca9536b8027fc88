import { expect, test } from 'vitest'
import { openDataset } from './open.ts'
import { splitTarget } from './part.ts'

test('a part of a set has the images of one maker, and the classes of all', async () => {
  const [whole, noto] = [await openDataset('emoji-kinds'), await openDataset('emoji-kinds@noto-v1')]
  expect(noto.name).toBe('emoji-kinds@noto-v1')
  expect(noto.classnames).toEqual(whole.classnames)
  const paths = whole.test.map(({ path }) => path).filter((path) => path.includes('noto-v1'))
  expect(noto.test.map(({ path }) => path)).toEqual(paths)
  expect(noto.test).toHaveLength(147)
  expect(noto.train.length).toBeLessThan(whole.train.length)
})

test('a part that is empty, or of no set, is refused by name', async () => {
  await expect(openDataset('emoji-kinds@watercolour')).rejects.toMatchObject({
    code: 'bad_data',
    message: expect.stringContaining(
      'no image of emoji-kinds has "watercolour" in its path, which is one like aircraft/',
    ),
  })
  await expect(openDataset('emoji-kids@noto')).rejects.toMatchObject({
    code: 'not_found',
    message: expect.stringContaining('called emoji-kids'),
  })
  expect([splitTarget('@a'), splitTarget('a@'), splitTarget('a')]).toEqual([undefined, undefined, undefined])
  expect(splitTarget('me@home@noto')).toEqual({ whole: 'me@home', text: 'noto' })
})
