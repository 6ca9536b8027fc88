/** Models opened, inspected and converted through the addon: the same features from every family's files. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Picture, readModel, readPictures } from '../../test/support/material.ts'
import { type NativeEngine, nativeEngine } from './node.ts'

const MODEL = fileURLToPath(new URL('../../models/emoji-clip/', import.meta.url))
const source = { paths: [join(MODEL, 'model.safetensors')], config: readFileSync(join(MODEL, 'config.json'), 'utf8') }
const home = mkdtempSync(join(tmpdir(), 'model-files-'))
let engine: NativeEngine
let pictures: Picture[]
let expected: Float32Array
const bytes = () => pictures.slice(0, 4).map((picture) => picture.bytes)

beforeAll(async () => {
  engine = await nativeEngine()
  pictures = await readPictures()
  using model = await engine.loadModel(await readModel())
  expected = (await model.embedImages(bytes())).features
}, 60_000)
afterAll(() => rmSync(home, { recursive: true }))

describe('openModel', () => {
  it('gives the bits that reading the file into memory gives', async () => {
    using model = await engine.openModel(source)
    expect((await model.embedImages(bytes())).features).toEqual(expected)
    using read = await engine.loadModel(await readModel())
    expect(model.info).toEqual(read.info)
  })

  it.each([
    ['a file that is not there', () => [join(home, 'none.safetensors')], 'io'],
    ['a folder', () => [home], 'io'],
    ['an empty file', () => [written('empty.safetensors', '')], 'bad_safetensors'],
    ['no file', () => [], 'bad_model'],
  ])('refuses %s', async (_, paths, code) => {
    await expect(engine.openModel({ paths: paths(), config: '' })).rejects.toMatchObject({ code })
  })
})

describe('convertModel', () => {
  it.each([
    ['openai', 'f32'],
    ['open_clip', 'f16'],
    ['hf', 'f16'],
  ] as const)('%s names in %s have the same features', async (names, dtype) => {
    const out = join(home, `${names}-${dtype}`)
    const written = await engine.convertModel(source, out, { names, dtype })
    expect(
      readdirSync(out)
        .map((name) => join(out, name))
        .sort(),
    ).toEqual([written.weights, written.config].sort())
    const converted = { paths: [written.weights], config: readFileSync(written.config, 'utf8') }
    using model = await engine.openModel(converted)
    expect((await model.embedImages(bytes())).features).toEqual(expected) // the model's own values are halves
    const report = await engine.inspectModel(converted)
    expect(report).toMatchObject({ format: 'safetensors', names, problem: null, missing: [], unexpected: [] })
    expect(report.parameters).toBe(model.info.parameters)
    expect(report.sha256).toBe(model.info.sha256)
  })

  it('leaves nothing where it is stopped, and refuses a target that is none', async () => {
    const out = join(home, 'stopped')
    const target = { names: 'openai', dtype: 'f32' } as const
    const stopped = engine.convertModel(source, out, target, { signal: AbortSignal.abort() })
    await expect(stopped).rejects.toMatchObject({ code: 'cancelled' })
    const odd = engine.convertModel(source, out, { ...target, dtype: 'f64' as 'f32' })
    await expect(odd).rejects.toMatchObject({ code: 'bad_option' })
    const file = written('in-the-way', '')
    await expect(engine.convertModel(source, file, target)).rejects.toMatchObject({ code: 'io' })
  })
})

describe('inspectModel', () => {
  it('says why a model cannot be used', async () => {
    const report = await engine.inspectModel({ ...source, config: '' })
    expect(report).toMatchObject({ names: 'hf', problem: { code: 'bad_model' } })
    expect(report.problem?.message).toContain('quick_gelu')
    const cut = written('cut.safetensors', readFileSync(source.paths[0] ?? ''))
    truncateSync(cut, statSync(cut).size - 1)
    await expect(engine.inspectModel({ ...source, paths: [cut] })).rejects.toMatchObject({ code: 'bad_safetensors' })
  })
})

function written(name: string, content: string | Uint8Array): string {
  const path = join(home, name)
  writeFileSync(path, content)
  return path
}
