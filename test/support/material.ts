/** Real material for tests: the embedded model, pictures of every format, and a bundle of each kind made by the addon. */
import { readdir, readFile } from 'node:fs/promises'
import { type Bits, type Bytes, FsStore, type ModelFiles, nativeEngine, Pack, type TrainSpec } from 'cocoop/node'
import { openDataset } from '../../trainer/src/datasets/open.ts'

const MODEL = new URL('../../models/emoji-clip/', import.meta.url)
const PICTURES = new URL('../../fixtures/preprocess/in/', import.meta.url)
const SET = 'emoji-backdrops'

export async function readModel(): Promise<ModelFiles & { id: string }> {
  const [weights, config] = await Promise.all([
    readFile(new URL('model.safetensors', MODEL)),
    readFile(new URL('config.json', MODEL), 'utf8'),
  ])
  return { id: 'emoji-clip', weights, config }
}

/** The embedded model as a pack, which the addon writes into `folder`. */
export async function makePack(
  folder: string,
  bits: Bits,
  towers: ('vision' | 'text')[] = ['vision', 'text'],
): Promise<Pack> {
  const files = await readModel()
  using model = await (await nativeEngine()).loadModel(files)
  await model.writePack(folder, { id: files.id, bits, towers }, () => {})
  return await Pack.open(new FsStore(folder))
}

export interface Picture {
  name: string
  bytes: Uint8Array
}

/** Pictures in every format that is read: PNG of all colour types, JPEG, WebP, GIF; and some of the embedded set. */
export async function readPictures(): Promise<Picture[]> {
  const names = (await readdir(PICTURES)).filter((name) => !name.includes('12mp')).sort()
  const fixtures = names.map(async (name) => ({ name, bytes: await readFile(new URL(name, PICTURES)) }))
  const { test } = await openDataset(SET)
  const own = test.filter((_, i) => i % 200 === 0).map(async (item) => ({ name: item.path, bytes: await item.read() }))
  return await Promise.all([...own, ...fixtures])
}

export type Kind = 'zero-shot' | 'coop' | 'coop-csc' | 'cocoop'

/** One bundle of each kind over the embedded set's 20 classes; the learned ones are trained for one epoch on two pictures a class. */
export async function makeBundles(): Promise<Record<Kind, Bytes>> {
  const engine = await nativeEngine()
  using model = await engine.loadModel(await readModel())
  const { classnames, train } = await openDataset(SET)
  const shots = classnames.flatMap((_, label) => train.filter((item) => item.label === label).slice(0, 2))
  const images = await Promise.all(shots.map((item) => item.read()))
  const labels = Uint32Array.from(shots, (item) => item.label)
  const metadata = (name: string) => ({
    name,
    model_id: 'emoji-clip',
    training: { dataset: SET, shots: 2, seed: 1 },
    metrics: {},
  })
  const learn = async (name: string, changes: Partial<TrainSpec>) => {
    const trainer = await model.trainer({ ...SPEC, classnames, ...changes }, images, labels)
    await trainer.epoch(() => {})
    return await trainer.bundle(metadata(name))
  }
  return {
    'zero-shot': await model.zeroShotBundle({
      classnames,
      templates: ['a photo of a thing on a {} background.'],
      metadata: metadata('zero-shot'),
    }),
    coop: await learn('coop', { method: 'coop' }),
    'coop-csc': await learn('coop-csc', {
      method: 'coop',
      ctx_init: null,
      n_ctx: 4,
      csc: true,
      class_token_position: 'middle',
    }),
    cocoop: await learn('cocoop', { method: 'cocoop', batch_size: 1 }),
  }
}

/** One epoch of CoOp, from "a photo of a". */
export const SPEC: Omit<TrainSpec, 'classnames'> = {
  method: 'coop',
  n_ctx: 4,
  ctx_init: 'a photo of a',
  csc: false,
  class_token_position: 'end',
  epochs: 1,
  batch_size: 8,
  lr: 0.02,
  momentum: 0.9,
  weight_decay: 5e-4,
  warmup_epochs: 0,
  warmup_lr: 1e-5,
  augment: 'none',
  views: 0,
  meta_net_reduction: 16,
  seed: 1,
}
