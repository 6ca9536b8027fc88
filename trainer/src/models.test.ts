/** Which files are a model, and what its config says. They are empty here: what they hold is tested in the core. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { locateModel, readModel } from './models.ts'

const home = mkdtempSync(join(tmpdir(), 'models-'))
afterAll(() => rmSync(home, { recursive: true }))

/** A folder with these files. */
function folder(name: string, files: Record<string, string>): string {
  const path = join(home, name)
  mkdirSync(path)
  for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text)
  return path
}

const HF = '{"model_type":"clip"}'
const OPEN_CLIP = '{"model_cfg":{}}'

it('takes a folder in the layouts of Hugging Face and open_clip', async () => {
  const hf = folder('hf', { 'config.json': HF, 'model.safetensors': '', 'pytorch_model.bin': '' })
  const file = join(hf, 'model.safetensors')
  expect(await locateModel(hf)).toEqual({ id: 'hf', folder: hf, paths: [file], config: HF })
  const openClip = folder('open', { 'open_clip_config.json': OPEN_CLIP, 'open_clip_pytorch_model.bin': '' })
  expect(await locateModel(openClip)).toMatchObject({
    paths: [join(openClip, 'open_clip_pytorch_model.bin')],
    config: OPEN_CLIP,
  })
})

it('takes shards', async () => {
  const names = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
  const path = folder('shards', { 'config.json': HF, ...Object.fromEntries(names.map((name) => [name, ''])) })
  expect((await locateModel(path)).paths).toEqual(names.map((name) => join(path, name)))
  await expect(readModel(path)).rejects.toMatchObject({ code: 'bad_model' })
})

it('takes one file, with the config beside it that is its own', async () => {
  const both = { 'open_clip_config.json': OPEN_CLIP, 'config.json': HF }
  const path = folder('files', { ...both, 'a.safetensors': '', 'open_clip_x.bin': '' })
  expect(await locateModel(join(path, 'a.safetensors'))).toMatchObject({ id: 'files', config: HF })
  expect(await locateModel(join(path, 'open_clip_x.bin'))).toMatchObject({ id: 'files', config: OPEN_CLIP })
  const bare = folder('bare', { 'RN50.pt': '', 'ViT-B-32.pt': '', 'config.json': '{"architecture":"resnet50"}' })
  expect(await locateModel(join(bare, 'RN50.pt'))).toMatchObject({ id: 'RN50', config: '' })
})

it("puts Hugging Face's preprocessor into the config", async () => {
  const pixels = { image_mean: [0.5, 0.5, 0.5] }
  const files = { 'config.json': HF, 'model.safetensors': '', 'preprocessor_config.json': JSON.stringify(pixels) }
  const { config } = await locateModel(folder('pixels', files))
  expect(JSON.parse(config)).toEqual({ model_type: 'clip', preprocessor_config: pixels })
  const broken = folder('broken', { ...files, 'config.json': '{' })
  expect(await locateModel(broken)).toMatchObject({ config: '{' })
})

it('says where it looked', async () => {
  const text = join(folder('text', { 'labels.txt': 'a cat' }), 'labels.txt')
  for (const target of ['no-such-model.pt', text])
    await expect(locateModel(target)).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining(`there is no model called ${target} in `),
    })
})
