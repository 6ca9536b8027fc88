import { beforeAll, describe, expect, it } from 'vitest'
import { type Kind, makeBundles, type Picture, readModel, readPictures } from '../../test/support/material.ts'
import { classifierOn, rank } from './classifier.ts'
import { sha256 } from './hash.ts'
import { Classifier, createEngine, type EngineModel, type ModelFiles, nativeEngine, wasmEngine } from './node.ts'

let files: ModelFiles
let bundles: Record<Kind, Uint8Array>
let picture: Picture
beforeAll(async () => {
  files = await readModel()
  bundles = await makeBundles()
  picture = (await readPictures())[0] as Picture
}, 120_000)

describe('Classifier', () => {
  it('goes from files to classes, best first', async () => {
    await using classifier = await Classifier.load(files, bundles.cocoop)
    const { predictions, bundle } = await classifier.classify(picture.bytes)
    expect(predictions.length).toBe(5)
    expect(bundle).toEqual({ name: 'cocoop', sha256: await sha256(bundles.cocoop), method: 'cocoop' })
    const all = (await classifier.classify(picture.bytes, { topK: 1000 })).predictions
    expect(all.slice(0, 5)).toEqual(predictions)
    expect(all.map(({ index }) => index).sort((a, b) => a - b)).toEqual(classifier.metadata.classnames.map((_, i) => i))
    for (const { classname, index } of all) expect(classname).toBe(classifier.metadata.classnames[index])
    expect(all.reduce((sum, { prob }) => sum + prob, 0)).toBeCloseTo(1, 5)
  })

  it('uses the engine that it is given, and leaves a model that is not its own', async () => {
    for (const engine of [await nativeEngine(), await wasmEngine('simd')]) {
      using model: EngineModel = await engine.loadModel(files)
      for (const kind of ['coop', 'cocoop'] as const) {
        await using classifier = await Classifier.load(model, bundles[kind])
        expect((await classifier.classify(picture.bytes, { topK: 1 })).bundle.method).toBe(kind)
      }
      await using open = await Classifier.load(model, bundles.cocoop, { classnames: ['red', 'blue', 'green'] })
      expect((await open.classify(picture.bytes)).predictions.length).toBe(3)
    }
  })

  it('cannot be used after it was disposed', async () => {
    const classifier = await Classifier.load(files, bundles.coop, { engine: await wasmEngine() })
    classifier.dispose()
    classifier.dispose()
    await expect(classifier.classify(picture.bytes)).rejects.toMatchObject({ code: 'disposed' })
  })

  it('stops for an aborted signal, before and in between', async () => {
    const reason = new Error('enough')
    const signal = AbortSignal.abort(reason)
    await expect(Classifier.load(files, bundles.coop, { signal })).rejects.toMatchObject({
      code: 'cancelled',
      cause: reason,
    })
    await using classifier = await Classifier.load(files, bundles.coop)
    await expect(classifier.classify(picture.bytes, { signal })).rejects.toMatchObject({
      code: 'cancelled',
      cause: reason,
    })
  })

  it.each([
    ['a truncated bundle', 'bad_safetensors', async () => Classifier.load(files, bundles.coop.slice(0, 99))],
    [
      'a truncated model',
      'bad_safetensors',
      async () => Classifier.load({ ...files, weights: files.weights.slice(0, 9999) }, bundles.coop),
    ],
    ['an empty class list', 'bad_classes', async () => Classifier.load(files, bundles.coop, { classnames: [] })],
    ['a config that is no JSON', 'bad_model', async () => Classifier.load({ ...files, config: '{' }, bundles.coop)],
  ])('refuses %s on every engine', async (_, code, load) => {
    await expect(load()).rejects.toMatchObject({ name: 'CocoopError', code })
  })

  it('makes an engine only where files are to be loaded', async () => {
    let made = 0
    const Counted = classifierOn(async () => {
      made += 1
      return await createEngine()
    })
    using model = await (await nativeEngine()).loadModel(files)
    await using onModel = await Counted.load(model, bundles.coop)
    expect([made, onModel.metadata.method]).toEqual([0, 'coop'])
    await using onFiles = await Counted.load(files, bundles.coop)
    expect([made, onFiles.metadata.method]).toEqual([1, 'coop'])
  })

  it('is served by the addon here', async () => {
    expect((await createEngine()).name).toBe('napi')
  })
})

describe('rank', () => {
  it('keeps the order of the classes among equals', () => {
    const scores = { probs: Float32Array.of(0.25, 0.5, 0.25), cosines: Float32Array.of(0.1, 0.2, 0.1) }
    expect(rank(scores, ['a', 'b', 'c'], 9).map(({ classname }) => classname)).toEqual(['b', 'a', 'c'])
    expect(rank(scores, ['a', 'b', 'c'], 1)).toEqual([
      { classname: 'b', index: 1, prob: 0.5, cosine: expect.closeTo(0.2) },
    ])
  })
})
