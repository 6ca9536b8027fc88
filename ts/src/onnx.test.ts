/** The same answers through ONNX Runtime (its WASM build) as through our own engine, for every kind of bundle, and what goes wrong. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as ort from 'onnxruntime-web/wasm'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Kind, makeBundles, type Picture, readModel, readPictures } from '../../test/support/material.ts'
import { Classifier, type ModelFiles, type NativeModel, nativeEngine, type OnnxSpec, wasmEngine } from './node.ts'
import { createOnnxEngine, type OnnxFiles, type OnnxModel, openOnnx } from './onnx-node.ts'

/** Sums of the same products in another order; a wrong tensor differs by far more. */
const LIMIT = 1e-4
const KINDS: Kind[] = ['zero-shot', 'coop', 'coop-csc', 'cocoop']
const OTHERS = ['crimson', 'navy blue', 'a colour that nobody trained', 'red']

let files: ModelFiles
let bundles: Record<Kind, Uint8Array>
let pictures: Picture[]
let native: NativeModel
let model: OnnxModel

beforeAll(async () => {
  ort.env.wasm.numThreads = 1
  files = await readModel()
  bundles = await makeBundles()
  pictures = (await readPictures()).filter((_, i) => i % 3 === 0)
  native = await (await nativeEngine()).loadModel(files)
  model = await (await createOnnxEngine({ ort })).loadModel(files)
}, 120_000)
afterAll(() => model[Symbol.dispose]())

const largest = (a: Float32Array, b: Float32Array) => {
  expect(a.length).toBe(b.length)
  return a.reduce((max, x, i) => Math.max(max, Math.abs(x - (b[i] ?? Number.NaN))), 0)
}

/** The bytes of an exported graph. */
async function graph(spec: OnnxSpec, bundle?: Uint8Array, of = native): Promise<Uint8Array> {
  const exported = await of.exportOnnx(spec, bundle)
  expect(exported.files.length).toBe(1)
  const parts: Uint8Array[] = []
  for await (const part of exported.parts(0)) parts.push(part)
  const bytes = Buffer.concat(parts)
  expect(bytes.length).toBe(exported.files[0]?.bytes)
  return bytes
}

/** A folder as `cocoop-train export-onnx` writes it. */
async function exportFolder(dtype: OnnxSpec['dtype'], graphs: OnnxSpec['graph'][]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'cocoop-onnx-'))
  const list = []
  for (const name of graphs) {
    const bytes = await graph({ graph: name, dtype })
    writeFileSync(join(folder, `${name}_model.onnx`), bytes)
    list.push({ name: `${name}_model.onnx`, bytes: bytes.length, sha256: '0'.repeat(64) })
  }
  const manifest = { format: 'cocoop-onnx', version: 1, model: native.info, dtype, files: list }
  writeFileSync(join(folder, 'onnx.json'), JSON.stringify(manifest))
  return folder
}

describe('a model of files, whose graphs are made in memory', () => {
  it('says what the addon says of it', () => {
    expect(model.info).toEqual(native.info)
  })

  it('gives the same image features, and names the same bad pictures', async () => {
    const images = [...pictures.map(({ bytes }) => bytes), new Uint8Array(9), new TextEncoder().encode('no picture')]
    const [ours, theirs] = [await native.embedImages(images), await model.embedImages(images)]
    expect(largest(theirs.features, ours.features)).toBeLessThan(LIMIT)
    expect(theirs.bad).toEqual(ours.bad)
    expect(await model.inspectImages(images)).toEqual(await native.inspectImages(images))
  })

  it('gives the same text features', async () => {
    const texts = ['a photo of a dog.', 'x', 'seven words of a sentence about nothing']
    expect(largest(await model.embedTexts(texts), await native.embedTexts(texts))).toBeLessThan(LIMIT)
    const templates = ['a photo of a {}.', 'a drawing of a {}.', 'the {}']
    const [ours, theirs] = [await native.textFeatures(OTHERS, templates), await model.textFeatures(OTHERS, templates)]
    expect(largest(theirs, ours)).toBeLessThan(LIMIT)
    const image = (await native.embedImages([(pictures[0] as Picture).bytes])).features
    expect(largest((await model.score(image, theirs)).probs, (await native.score(image, ours)).probs)).toBeLessThan(
      LIMIT,
    )
  })

  it.each(KINDS)('%s: the same probabilities and cosines, and the probe', async (kind) => {
    using ours = await native.classifier(bundles[kind])
    using theirs = await model.classifier(bundles[kind])
    expect(theirs.metadata).toEqual(ours.metadata)
    for (const { name, bytes } of pictures.slice(0, 6)) {
      const [a, b] = [await theirs.classify(bytes), await ours.classify(bytes)]
      expect(largest(a.probs, b.probs), name).toBeLessThan(LIMIT)
      expect(largest(a.cosines, b.cosines), name).toBeLessThan(LIMIT)
    }
    expect(await theirs.probe()).toBeLessThan(LIMIT)
  })

  it.each<Kind>(['zero-shot', 'coop', 'cocoop'])('%s: the same over other class names', async (kind) => {
    using ours = await native.classifier(bundles[kind], { classnames: OTHERS })
    using theirs = await model.classifier(bundles[kind], { classnames: OTHERS })
    expect(theirs.metadata).toEqual(ours.metadata)
    const { features } = await native.embedImages(pictures.slice(0, 3).map(({ bytes }) => bytes))
    expect(largest((await theirs.score(features)).probs, (await ours.score(features)).probs)).toBeLessThan(LIMIT)
    await expect(theirs.probe()).rejects.toMatchObject({ code: 'bad_classes' })
  })

  it('makes a zero-shot bundle that our engine serves with the same probe', async () => {
    const spec = {
      classnames: OTHERS,
      templates: ['a {} thing.', 'something {}'],
      metadata: { name: 'x', model_id: 'emoji-clip', training: {}, metrics: {} },
    }
    using ours = await native.classifier(await model.zeroShotBundle(spec))
    expect(ours.metadata.classnames).toEqual(OTHERS)
    expect(await ours.probe()).toBeLessThan(LIMIT)
  })

  it('is what Classifier takes an engine for', async () => {
    const engine = await createOnnxEngine({ ort, executionProviders: ['wasm'] })
    await using theirs = await Classifier.load(files, bundles.cocoop, { engine })
    await using ours = await Classifier.load(native, bundles.cocoop)
    const { bytes } = pictures[0] as Picture
    const [a, b] = [await theirs.classify(bytes), await ours.classify(bytes)]
    expect(a.bundle).toEqual(b.bundle)
    expect(a.predictions.map(({ classname }) => classname)).toEqual(b.predictions.map(({ classname }) => classname))
  })

  it('computes GELU where config.json says so', async () => {
    const config = files.config.replaceAll('"quick_gelu"', '"gelu"')
    using ours = await (await nativeEngine()).loadModel({ ...files, config })
    using theirs = await (await createOnnxEngine({ ort })).loadModel({ ...files, config })
    const images = pictures.slice(0, 2).map(({ bytes }) => bytes)
    const [a, b, quick] = [
      (await theirs.embedImages(images)).features,
      (await ours.embedImages(images)).features,
      (await native.embedImages(images)).features,
    ]
    expect(largest(a, b)).toBeLessThan(LIMIT)
    expect(largest(b, quick)).toBeGreaterThan(10 * LIMIT)
    const texts = ['a photo of a dog.']
    expect(largest(await theirs.embedTexts(texts), await ours.embedTexts(texts))).toBeLessThan(LIMIT)
  })
})

describe('exported graphs', () => {
  it.each<[OnnxSpec['dtype'], number]>([
    ['f32', LIMIT],
    ['f16', 5e-3], // a half has 11 bits
  ])('%s: the same features from a folder', async (dtype, limit) => {
    const exported = await openOnnx(await exportFolder(dtype, ['vision', 'text', 'prompt']))
    using opened = await (await createOnnxEngine({ ort })).loadModel(exported)
    const images = pictures.slice(0, 4).map(({ bytes }) => bytes)
    const [ours, theirs] = [await native.embedImages(images), await opened.embedImages(images)]
    expect(largest(theirs.features, ours.features)).toBeLessThan(limit)
    using a = await opened.classifier(bundles.cocoop, { classnames: OTHERS })
    using b = await native.classifier(bundles.cocoop, { classnames: OTHERS })
    expect(largest((await a.score(ours.features)).cosines, (await b.score(ours.features)).cosines)).toBeLessThan(limit)
  })

  it.each<Kind>(['zero-shot', 'coop'])('%s: one graph from pixels to probabilities', async (kind) => {
    const session = await ort.InferenceSession.create(await graph({ graph: 'classifier', dtype: 'f32' }, bundles[kind]))
    using host = (await wasmEngine()).host(native.info)
    using ours = await native.classifier(bundles[kind])
    const { image_size } = native.info
    const chosen = pictures.slice(0, 3)
    const pixels = new Float32Array(chosen.flatMap(({ bytes }) => [...host.pixels(bytes)]))
    const pixel_values = new ort.Tensor('float32', pixels, [chosen.length, 3, image_size, image_size])
    const outputs = await session.run({ pixel_values })
    const [probs, logits] = ['probs', 'logits'].map((name) => outputs[name]?.data as Float32Array) as [
      Float32Array,
      Float32Array,
    ]
    const { features } = await native.embedImages(chosen.map(({ bytes }) => bytes))
    const scores = await ours.score(features)
    expect(largest(probs, scores.probs)).toBeLessThan(LIMIT)
    const scale = Math.exp(native.info.logit_scale ?? Number.NaN)
    const cosines = logits.map((logit) => logit / scale)
    expect(largest(cosines, scores.cosines)).toBeLessThan(LIMIT)
  })

  it('serves static bundles with the vision graph alone, and says which other one is missing', async () => {
    const vision = await graph({ graph: 'vision', dtype: 'f32' })
    const manifest = { format: 'cocoop-onnx', version: 1, model: native.info, dtype: 'f32' }
    const list = [{ name: 'vision_model.onnx', bytes: vision.length, sha256: '0'.repeat(64) }]
    const only: OnnxFiles = { manifest: JSON.stringify({ ...manifest, files: list }), vision }
    using opened = await (await createOnnxEngine({ ort })).loadModel(only)
    using classifier = await opened.classifier(bundles.coop)
    expect((await classifier.classify((pictures[0] as Picture).bytes)).probs.length).toBeGreaterThan(1)
    await expect(opened.classifier(bundles.cocoop)).rejects.toMatchObject({
      code: 'bad_model',
      message: expect.stringContaining('prompt graph'),
    })
    await expect(opened.embedTexts(['x'])).rejects.toMatchObject({ code: 'bad_model' })
  })
})

describe('refuses by name', () => {
  it.each<[string, string, () => Promise<unknown>]>([
    [
      'a cocoop bundle as one graph',
      'bad_bundle',
      () => native.exportOnnx({ graph: 'classifier', dtype: 'f32' }, bundles.cocoop),
    ],
    [
      'a bundle of a method that nobody knows',
      'bad_bundle',
      () => {
        const bytes = Buffer.from(bundles.coop)
        bytes.write('coox', bytes.indexOf('"method\\":\\"coop') + 12)
        return native.exportOnnx({ graph: 'classifier', dtype: 'f32' }, bytes)
      },
    ],
    ['a classifier without a bundle', 'bad_option', () => native.exportOnnx({ graph: 'classifier', dtype: 'f32' })],
    ['bytes that are no bundle', 'bad_safetensors', () => model.classifier(new Uint8Array(99))],
    ['an empty class list', 'bad_classes', () => model.classifier(bundles.cocoop, { classnames: [] })],
    [
      'others than class-specific classes',
      'bad_classes',
      () => model.classifier(bundles['coop-csc'], { classnames: OTHERS }),
    ],
    ['features of another length', 'bad_shape', () => model.score(new Float32Array(7), new Float32Array(7))],
    ['a folder without onnx.json', 'io', () => openOnnx(tmpdir())],
    [
      'an aborted call',
      'cancelled',
      () => model.embedImages([(pictures[0] as Picture).bytes], { signal: AbortSignal.abort() }),
    ],
    [
      'a graph that is none',
      'bad_model',
      async () => {
        const { ...info } = native.info
        const manifest = { format: 'cocoop-onnx', version: 1, model: info, dtype: 'f32' }
        const text = JSON.stringify({
          ...manifest,
          files: [{ name: 'vision_model.onnx', bytes: 9, sha256: '0'.repeat(64) }],
        })
        const opened = await (await createOnnxEngine({ ort })).loadModel({ manifest: text, vision: new Uint8Array(9) })
        return await opened.embedImages([(pictures[0] as Picture).bytes])
      },
    ],
    [
      'a bundle for another model',
      'model_mismatch',
      async () => {
        const info = { ...native.info, sha256: 'ab'.repeat(32) }
        const manifest = { format: 'cocoop-onnx', version: 1, model: info, dtype: 'f32' }
        const text = JSON.stringify({ ...manifest, files: [{ name: 'x', bytes: 9, sha256: '0'.repeat(64) }] })
        return await (await (await createOnnxEngine({ ort })).loadModel({ manifest: text })).classifier(bundles.coop)
      },
    ],
    [
      'a manifest that is none',
      'bad_model',
      async () => (await createOnnxEngine({ ort })).loadModel({ manifest: '{}' }),
    ],
    [
      'what was disposed',
      'disposed',
      async () => {
        const opened = await (await createOnnxEngine({ ort })).loadModel(files)
        const classifier = await opened.classifier(bundles.coop)
        opened[Symbol.dispose]()
        opened[Symbol.dispose]()
        return await classifier.classify((pictures[0] as Picture).bytes)
      },
    ],
  ])('%s: %s', async (_, code, run) => {
    await expect(run()).rejects.toMatchObject({ name: 'CocoopError', code })
  })
})
