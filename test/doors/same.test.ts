/** The addon and both WASM modules give the same probabilities, for every kind of bundle and every picture format. */
import { type Engine, type EngineModel, nativeEngine, templateSet, wasmEngine } from 'cocoop/node'
import { beforeAll, describe, expect, it } from 'vitest'
import { type Kind, makeBundles, type Picture, readModel, readPictures } from '../support/material.ts'

/** Sums of the same products in another order differ by rounding: about 1e-6 here; a wrong tensor by far more. */
const LIMIT = 1e-4

let native: EngineModel
let bundles: Record<Kind, Uint8Array>
let pictures: Picture[]
const doors = new Map<string, EngineModel>()

beforeAll(async () => {
  const model = await readModel()
  const engines: Engine[] = [await nativeEngine(), await wasmEngine('simd'), await wasmEngine('relaxed')]
  for (const engine of engines) doors.set(engine.name, await engine.loadModel(model))
  native = doors.get('napi') as EngineModel
  bundles = await makeBundles()
  pictures = await readPictures()
}, 120_000)

const largest = (a: Float32Array, b: Float32Array) =>
  a.reduce((max, x, i) => Math.max(max, Math.abs(x - (b[i] ?? Number.NaN))), 0)

describe.each(['wasm-simd', 'wasm-relaxed'])('%s', (door) => {
  it('reads the model as the addon does', () => {
    expect(doors.get(door)?.info).toEqual(native.info)
  })

  it.each<Kind>(['zero-shot', 'coop', 'coop-csc', 'cocoop'])('%s: the same probabilities and cosines', async (kind) => {
    using theirs = await native.classifier(bundles[kind])
    using ours = await (doors.get(door) as EngineModel).classifier(bundles[kind])
    expect(ours.metadata).toEqual(theirs.metadata)
    for (const { name, bytes } of pictures) {
      const [a, b] = [await ours.classify(bytes), await theirs.classify(bytes)]
      expect(a.probs.length, name).toBe(theirs.metadata.classnames.length)
      expect(
        a.probs.reduce((sum, p) => sum + p, 0),
        name,
      ).toBeCloseTo(1, 5)
      expect(largest(a.probs, b.probs), name).toBeLessThan(LIMIT)
      expect(largest(a.cosines, b.cosines), name).toBeLessThan(LIMIT)
    }
  })

  it.each<Kind>(['zero-shot', 'coop', 'cocoop'])('%s: the same over other class names', async (kind) => {
    const classnames = ['crimson', 'navy blue', 'a colour that nobody trained', 'red']
    using theirs = await native.classifier(bundles[kind], { classnames })
    using ours = await (doors.get(door) as EngineModel).classifier(bundles[kind], { classnames })
    expect(ours.metadata.classnames).toEqual(classnames)
    const { bytes } = pictures[0] as Picture
    expect(largest((await ours.classify(bytes)).probs, (await theirs.classify(bytes)).probs)).toBeLessThan(LIMIT)
  })

  it('names the same bad pictures by the same words', async () => {
    const png = (pictures[0] as Picture).bytes
    const images = [png.subarray(0, png.length / 2), new Uint8Array(0), new TextEncoder().encode('no picture'), png]
    const [a, b] = [await (doors.get(door) as EngineModel).embedImages(images), await native.embedImages(images)]
    expect(a.bad).toEqual(b.bad)
    expect(a.bad.map(({ index }) => index)).toEqual([0, 1, 2])
    expect(largest(a.features, b.features)).toBeLessThan(LIMIT)
    const [seenA, seenB] = [
      await (doors.get(door) as EngineModel).inspectImages(images),
      await native.inspectImages(images),
    ]
    expect(seenA).toEqual(seenB)
  })

  it('the same features of texts, alone and in templates, and the same scores of them', async () => {
    const model = doors.get(door) as EngineModel
    const width = native.info.embed_dim
    const texts = ['a photo of a dog.', 'dog', 'a_b <i>ünï</i>', 'a photo of a cat.', '😀']
    const [a, b] = [await model.embedTexts(texts), await native.embedTexts(texts)]
    expect(a).toHaveLength(texts.length * width)
    expect(largest(a, b)).toBeLessThan(LIMIT)
    const ensemble = [['red_panda', 'dog'], templateSet('imagenet-7') ?? []] as const
    expect(largest(await model.textFeatures(...ensemble), await native.textFeatures(...ensemble))).toBeLessThan(LIMIT)
    const { features } = await native.embedImages(pictures.slice(0, 2).map(({ bytes }) => bytes))
    const [ours, theirs] = [await model.score(features, a), await native.score(features, a)]
    expect(largest(ours.cosines, theirs.cosines)).toBeLessThan(LIMIT)
    expect(largest(ours.probs, theirs.probs)).toBeLessThan(LIMIT)
    const [image, text] = [features.subarray(width, 2 * width), a.subarray(2 * width, 3 * width)]
    const dot = image.reduce((sum, x, k) => sum + x * (text[k] ?? Number.NaN), 0)
    expect(ours.cosines[texts.length + 2]).toBeCloseTo(dot, 5)
  })

  it('names the same bad texts by the same words', async () => {
    const width = native.info.embed_dim
    for (const model of [doors.get(door) as EngineModel, native]) {
      const long = 'dog '.repeat(100)
      await expect(model.embedTexts(['dog', long])).rejects.toMatchObject({
        code: 'text_too_long',
        message: expect.stringContaining('dog dog'),
      })
      const cut = await model.embedTexts([long, 'dog '.repeat(75)], { truncate: true })
      expect(largest(cut.subarray(0, width), cut.subarray(width))).toBe(0)
      await expect(model.embedTexts(['dog', ''])).rejects.toMatchObject({ code: 'bad_text' })
      await expect(model.textFeatures([], ['a {}'])).rejects.toMatchObject({ code: 'bad_classes' })
      await expect(model.textFeatures(['dog'], [])).rejects.toMatchObject({ code: 'bad_option' })
      await expect(model.textFeatures(['dog'], ['a {}', 'no place'])).rejects.toMatchObject({ code: 'bad_text' })
      await expect(model.score(new Float32Array(width + 1), cut)).rejects.toMatchObject({ code: 'bad_shape' })
      expect(await model.embedTexts([])).toHaveLength(0)
    }
  })

  it('a bundle of features that are known is the bundle of their templates', async () => {
    const model = doors.get(door) as EngineModel
    const metadata = { name: 'known', model_id: 'm', training: {}, metrics: {} }
    const spec = { classnames: ['red', 'a dog', 'blue_sky'], templates: ['a {}.', 'the {}'], metadata }
    const features = await model.textFeatures(spec.classnames, spec.templates)
    expect(await model.zeroShotBundle(spec, features)).toEqual(await model.zeroShotBundle(spec))
    await expect(model.zeroShotBundle(spec, features.subarray(1))).rejects.toMatchObject({ code: 'bad_shape' })
  })

  it('scores stored features as it classifies', async () => {
    const { bytes } = pictures[0] as Picture
    const model = doors.get(door) as EngineModel
    using classifier = await model.classifier(bundles.cocoop)
    const { features } = await model.embedImages([bytes, bytes])
    const { probs } = await classifier.score(features)
    const once = (await classifier.classify(bytes)).probs
    expect(largest(probs.subarray(0, once.length), once)).toBeLessThan(1e-6)
    expect(largest(probs.subarray(once.length), once)).toBeLessThan(1e-6)
  })

  it.each<Kind>(['zero-shot', 'coop', 'coop-csc', 'cocoop'])('%s: gives its probe logits', async (kind) => {
    using classifier = await (doors.get(door) as EngineModel).classifier(bundles[kind])
    expect(await classifier.probe()).toBeLessThan(1e-4)
  })
})
