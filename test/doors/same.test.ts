/** The addon and both WASM modules give the same probabilities, for every kind of bundle and every picture format. */
import { type Engine, type EngineModel, nativeEngine, wasmEngine } from 'cocoop/node'
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
