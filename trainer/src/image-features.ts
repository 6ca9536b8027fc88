/**
 * Features of selected images, kept from one run to the next: an image is encoded once for a model and a view of it, whatever the method,
 * seed or sweep. A key is made of the files' contents, so that a changed image, another model or another view is never taken for the old.
 */
import { createHash } from 'node:crypto'
import type { NativeModel, TrainSpec } from 'cocoop/node'
import type { FeatureCache } from './feature-cache.ts'
import { sha256 } from './files.ts'
import { type Embedded, embedAll, type Readable, type ReadOptions } from './images.ts'
import { Countdown } from './progress.ts'
import type { Selected } from './select.ts'

/** Files that are read at a time to be hashed. */
const AT_ONCE = 32

/** A model with its cache. */
export interface Encoder {
  model: NativeModel
  cache: FeatureCache
}

/**
 * Features (n, embed_dim) of the test view of each image: L2-normalised, or as they leave the tower.
 * @throws as {@link embedAll}
 */
export async function imageFeatures(
  { model, cache }: Encoder,
  selected: Selected,
  options: ReadOptions,
  normalized = true,
): Promise<Embedded> {
  const hash = await contentHash(selected.items, options)
  const key = { images: hash, view: 'test', normalized }
  const numbers = selected.items.length * model.info.embed_dim
  const known = hash === undefined ? undefined : await cache.get(key)
  if (known?.features.length === numbers) return { ...selected, features: known.features }
  const embedded = await embedAll(model, selected, options, normalized)
  // Images that were left out are named each time: such features are not kept.
  if (embedded.features.length === numbers && hash !== undefined)
    await cache.put(key, { note: null, features: embedded.features })
  return embedded
}

/** Views of training images, as the engine draws them: see `embedViews`. */
export interface Views {
  augment: TrainSpec['augment']
  seed: number
  /** How many of each image; 1 where nothing is drawn. */
  views: number
}

/**
 * Features (n, views, embed_dim) of the views that training sees of `images`, which are known to decode. Each view is kept by itself, so that
 * a run with more of them, or one that was interrupted, computes the rest only.
 * @throws CocoopError `cancelled`
 */
export async function viewFeatures(
  { model, cache }: Encoder,
  images: readonly Uint8Array[],
  { augment, seed, views }: Views,
  { terminal, signal }: ReadOptions,
): Promise<Float32Array> {
  const [n, width] = [images.length, model.info.embed_dim]
  const hash = hashOf(images)
  const features = new Float32Array(n * views * width)
  const countdown = new Countdown(n * views)
  for (let view = 0; view < views; view++) {
    // What is not augmented is what is tested.
    const key = { images: hash, view: augment === 'none' ? 'test' : { augment, seed, number: view }, normalized: true }
    const known = await cache.get(key)
    let rows = known?.features
    if (rows?.length !== n * width) {
      rows = new Float32Array(n * width)
      countdown.line(view * n)
      for (let first = 0; first < n; first += AT_ONCE) {
        const some = images.slice(first, first + AT_ONCE)
        const embedded = await model.embedViews(some, { augment, seed, first, from: view, to: view + 1 }, { signal })
        rows.set(embedded.features, first * width)
        terminal.status(`encoding views ${countdown.line(view * n + first + some.length)}`)
      }
      await cache.put(key, { note: null, features: rows })
    }
    for (let i = 0; i < n; i++) features.set(rows.subarray(i * width, (i + 1) * width), (i * views + view) * width)
  }
  terminal.clear()
  return features
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

/** The same for files that are read. */
function hashOf(images: readonly Uint8Array[]): string {
  const hash = createHash('sha256')
  for (const bytes of images) hash.update(sha256(bytes))
  return hash.digest('hex')
}
