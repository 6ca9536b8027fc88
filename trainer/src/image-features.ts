/**
 * Features of selected images, kept from one run to the next: an image is encoded once for a model and a view of it, whatever the method,
 * seed or sweep. A key is made of the files' contents, so that a changed image, another model or another view is never taken for the old.
 */
import { createHash } from 'node:crypto'
import type { NativeModel } from 'cocoop/node'
import type { FeatureCache } from './feature-cache.ts'
import { sha256 } from './files.ts'
import { type Embedded, embedAll, type Readable, type ReadOptions } from './images.ts'
import type { Selected } from './select.ts'

/** Files that are read at a time to be hashed. */
const AT_ONCE = 32

/** A model with its cache. */
export interface Encoder {
  model: NativeModel
  cache: FeatureCache
}

/**
 * Features (n, embed_dim) of the test view of each image, L2-normalised.
 * @throws as {@link embedAll}
 */
export async function imageFeatures(
  { model, cache }: Encoder,
  selected: Selected,
  options: ReadOptions,
): Promise<Embedded> {
  const hash = await contentHash(selected.items, options)
  const key = { images: hash, view: 'test' }
  const numbers = selected.items.length * model.info.embed_dim
  const known = hash === undefined ? undefined : await cache.get(key)
  if (known?.features.length === numbers) return { ...selected, features: known.features }
  const embedded = await embedAll(model, selected, options)
  // Images that were left out are named each time: such features are not kept.
  if (embedded.features.length === numbers && hash !== undefined)
    await cache.put(key, { note: null, features: embedded.features })
  return embedded
}

/** What a list of files is known by; `undefined` if one of them cannot be read, which whoever reads them next will say. */
async function contentHash(items: readonly Readable[], { signal }: ReadOptions): Promise<string | undefined> {
  const hash = createHash('sha256')
  for (let start = 0; start < items.length; start += AT_ONCE) {
    signal.throwIfAborted()
    try {
      const some = await Promise.all(items.slice(start, start + AT_ONCE).map((item) => item.read()))
      for (const bytes of some) hash.update(sha256(bytes))
    } catch {
      return undefined
    }
  }
  return hash.digest('hex')
}
