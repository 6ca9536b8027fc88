import { describe, expect, it } from 'vitest'
import { Alias, BundleMetadata, BundleRef, check, parseJson } from './schemas.ts'

const sha256 = 'a'.repeat(64)
const metadata = {
  format: 'cocoop-bundle',
  version: 1,
  name: 'backdrops',
  method: 'cocoop',
  classnames: ['black', 'blue'],
  prompt: { n_ctx: 4, ctx_init: 'a photo of a', csc: false, class_token_position: 'end', templates: [] },
  model: { id: 'emoji-clip', sha256, embed_dim: 192, image_size: 64 },
  training: { dataset: 'emoji-backdrops', seed: 1 },
  metrics: {},
}

describe('BundleMetadata', () => {
  it('reads the example of docs/bundle-format.md', () => {
    expect(BundleMetadata.parse(metadata)).toEqual(metadata)
  })

  it.each([
    ['another version', { ...metadata, version: 2 }],
    ['an unknown field', { ...metadata, colour: 'red' }],
    ['no class names', { ...metadata, classnames: [] }],
    ['a hash that is none', { ...metadata, model: { ...metadata.model, sha256: 'abc' } }],
    ['an unknown method', { ...metadata, method: 'tip' }],
  ])('refuses %s', (_, value) => {
    expect(BundleMetadata.safeParse(value).success).toBe(false)
  })
})

describe('BundleRef', () => {
  it('is a name, or a name and a hash', () => {
    expect(BundleRef.parse('backdrops')).toEqual({ name: 'backdrops', sha256: undefined })
    expect(BundleRef.parse(`backdrops@${sha256}`)).toEqual({ name: 'backdrops', sha256 })
  })
  it.each(['', 'A', '.hidden', 'a/b', '../a', `a@${sha256.slice(1)}`, `a@${sha256}@`, 'a'.repeat(65), 'a b', 'ä'])(
    'refuses %j',
    (text) => {
      expect(BundleRef.safeParse(text).success).toBe(false)
    },
  )
})

describe('parseJson', () => {
  it('names the thing, the field and the word', () => {
    expect(() => parseJson(Alias, '{', 'bundle/x', 'bad_store')).toThrow(
      expect.objectContaining({ code: 'bad_store', message: 'bundle/x: not JSON' }),
    )
    expect(() => check(Alias, { sha256: 'x' }, 'bundle/x', 'bad_store')).toThrow(/^bundle\/x: sha256: /)
  })
})
