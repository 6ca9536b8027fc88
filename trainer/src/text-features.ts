/** Features of texts and of class names in templates, from the cache where they were computed before. */
import type { Bytes, EngineModel, ZeroShotSpec } from 'cocoop/node'
import type { Context } from './command.ts'
import type { FeatureCache } from './feature-cache.ts'

/** A model with its cache. */
export interface Cached {
  model: EngineModel
  cache: FeatureCache
}
type Reporting = Pick<Context, 'terminal' | 'signal'>

/** Features (n, embed_dim) of texts as they stand. */
export function embedTexts(
  { model, cache }: Cached,
  texts: readonly string[],
  { truncate = false, terminal, signal }: Reporting & { truncate?: boolean },
): Promise<Float32Array> {
  return kept(cache, { texts, truncate }, texts.length * model.info.embed_dim, () =>
    model.embedTexts(texts, { truncate, signal, onProgress: progress(terminal) }),
  )
}

/** A zero-shot bundle; its text features are kept. */
export async function zeroShotBundle(
  { model, cache }: Cached,
  spec: ZeroShotSpec,
  { terminal, signal }: Reporting,
): Promise<Bytes> {
  const { classnames, templates } = spec
  const features = await kept(cache, { classnames, templates }, classnames.length * model.info.embed_dim, () =>
    model.textFeatures(classnames, templates, { signal, onProgress: progress(terminal) }),
  )
  terminal.clear()
  return await model.zeroShotBundle(spec, features)
}

async function kept(
  cache: FeatureCache,
  key: Record<string, unknown>,
  numbers: number,
  compute: () => Promise<Float32Array>,
): Promise<Float32Array> {
  const found = await cache.get(key)
  if (found?.features.length === numbers) return found.features
  const features = await compute()
  await cache.put(key, { note: null, features })
  return features
}

function progress(terminal: Context['terminal']) {
  return (done: number, total: number) => terminal.status(`encoding texts ${done}/${total}`)
}
