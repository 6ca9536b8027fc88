import { expect, test } from 'vitest'
import { placeOf } from './place.ts'

const TORCHRUN = { RANK: '2', WORLD_SIZE: '4', LOCAL_RANK: '0', MASTER_ADDR: 'node1', MASTER_PORT: '29500' }

test('the place is that of torchrun, on the port beside its store', () => {
  expect(placeOf(TORCHRUN)).toEqual({ rank: 2, world: 4, host: 'node1', port: 29_501, patience: 120_000 })
  expect(placeOf({ ...TORCHRUN, COCOOP_MASTER_PORT: '4000', COCOOP_RANK_TIMEOUT: '5' })).toMatchObject({
    port: 4000,
    patience: 5000,
  })
  expect(placeOf({ RANK: '1', WORLD_SIZE: '2' })).toMatchObject({ host: '127.0.0.1', port: 29_501 })
})

test('a process on its own has none', () => {
  expect(placeOf({})).toBeUndefined()
  expect(placeOf({ RANK: '0', WORLD_SIZE: '1' })).toBeUndefined()
})

test.each([
  ['RANK', { RANK: '4' }],
  ['RANK', { RANK: '-1' }],
  ['RANK', { RANK: '' }],
  ['RANK', { RANK: undefined }],
  ['WORLD_SIZE', { WORLD_SIZE: 'two' }],
  ['MASTER_PORT', { MASTER_PORT: '70000' }],
  ['COCOOP_MASTER_PORT', { COCOOP_MASTER_PORT: '0' }],
  ['COCOOP_RANK_TIMEOUT', { COCOOP_RANK_TIMEOUT: '0' }],
])('a bad %s is named', (name, change) => {
  expect(() => placeOf({ ...TORCHRUN, ...change })).toThrow(
    expect.objectContaining({ code: 'usage', message: expect.stringContaining(name) }),
  )
})
