import { expect, test } from 'vitest'
import { flagsOf } from '../flags.ts'
import { bundleName, resolve, TRAIN, trainSpec } from './options.ts'

/** Words are tokens, but "teddy-bear" is three. */
const count = (text: string) => text.split(/[ -]/).length + (text.includes('-') ? 1 : 0)
const from = (flags: Record<string, unknown>) => resolve(TRAIN.parse({ data: 'x', ...flags }), 'my set', count)

test("CoCoOp's defaults are the original's", () => {
  expect(from({})).toMatchObject({
    method: 'cocoop',
    n_ctx: 4,
    ctx_init: 'a photo of a',
    epochs: 10,
    batch_size: 1,
    lr: 0.002,
    momentum: 0.9,
    weight_decay: 0.0005,
    warmup_epochs: 1,
    warmup_lr: 0.00001,
    augment: 'crop-flip',
    views: 0,
    meta_net_reduction: 16,
    shots: 16,
    name: 'my-set-cocoop',
    templates: [],
  })
})

test.each([
  [16, 200],
  [8, 200],
  [4, 100],
  [2, 100],
  [1, 50],
  [0, 200],
])("CoOp with %i shots runs %i epochs, as the original's scripts", (shots, epochs) => {
  expect(from({ method: 'coop', shots })).toMatchObject({ n_ctx: 16, ctx_init: '', epochs, batch_size: 32 })
})

test('the context follows from what is given', () => {
  expect(from({ method: 'coop', ctx_init: 'a photo of a' })).toMatchObject({ n_ctx: 4, ctx_init: 'a photo of a' })
  expect(from({ n_ctx: 8 })).toMatchObject({ n_ctx: 8, ctx_init: '' })
  expect(from({ n_ctx: 4 })).toMatchObject({ n_ctx: 4, ctx_init: 'a photo of a' })
  expect(from({ ctx_init: '' })).toMatchObject({ n_ctx: 4, ctx_init: '' })
  // The original counts words here, and corrupts the prompt.
  expect(from({ ctx_init: 'a teddy-bear' })).toMatchObject({ n_ctx: 4 })
})

test.each([
  [{ csc: true }, '--csc does not go with --method cocoop'],
  [{ class_token_position: 'front' }, '--class-token-position front does not go with --method cocoop'],
  [{ method: 'coop', csc: true, ctx_init: 'a photo of a' }, '--csc does not go with --ctx-init'],
  [{ templates: ['simple'] }, '--templates does not go with --method cocoop'],
  [{ method: 'coop', n_ctx: 3, ctx_init: 'a photo of a' }, '--n-ctx 3 does not go with --ctx-init'],
])('%j is refused', (flags, message) => {
  expect(() => from(flags)).toThrow(
    expect.objectContaining({ code: 'usage', message: expect.stringContaining(message) }),
  )
})

test('the spec has what the engine wants and nothing else', () => {
  expect(trainSpec(from({ method: 'coop', epochs: 3 }), ['a', 'b'])).toEqual({
    method: 'coop',
    classnames: ['a', 'b'],
    n_ctx: 16,
    ctx_init: null,
    csc: false,
    class_token_position: 'end',
    meta_net_reduction: 16,
    views: 0,
    epochs: 3,
    batch_size: 32,
    lr: 0.002,
    momentum: 0.9,
    weight_decay: 0.0005,
    warmup_epochs: 1,
    warmup_lr: 0.00001,
    augment: 'crop-flip',
    seed: 1,
  })
})

test('any text becomes a name that the store and a URL take', () => {
  expect(bundleName('My Photos/coop')).toBe('my-photos-coop')
  expect(bundleName('…')).toBe('bundle')
})

test('every flag says what it is', () => {
  expect(flagsOf(TRAIN).filter(({ description }) => description === '')).toEqual([])
})
