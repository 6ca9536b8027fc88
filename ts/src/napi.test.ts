/** Training through the addon: progress, cancelling, checkpoints, and that the event loop stays free. */
import { beforeAll, describe, expect, it } from 'vitest'
import { readModel, SPEC } from '../../test/support/material.ts'
import { openDataset } from '../../trainer/src/datasets/open.ts'
import {
  fewShot,
  type NativeModel,
  nativeEngine,
  type Progress,
  shuffles,
  subsample,
  type Trainer,
  type TrainSpec,
} from './node.ts'

let model: NativeModel
let images: Uint8Array[]
let labels: Uint32Array
let spec: TrainSpec
beforeAll(async () => {
  model = await (await nativeEngine()).loadModel(await readModel())
  const { classnames, train } = await openDataset('emoji-backdrops')
  const shots = classnames.flatMap((_, label) => train.filter((item) => item.label === label).slice(0, 2))
  images = await Promise.all(shots.map((item) => item.read()))
  labels = Uint32Array.from(shots, (item) => item.label)
  const changes = { epochs: 2, batch_size: 4, lr: 0.002, augment: 'crop-flip' } as const
  spec = { ...SPEC, ...changes, method: 'cocoop', classnames }
}, 60_000)

describe('Trainer', () => {
  it('reports every batch and leaves the event loop free', async () => {
    const trainer = await model.trainer(spec, images, labels)
    expect(trainer.plan).toMatchObject({ epochs: 2, batches: 10, batch_size: 4, n_train: 40 })
    const events: Progress[] = []
    let ticks = 0
    const timer = setInterval(() => (ticks += 1), 5)
    const report = await trainer.epoch((event) => events.push(event))
    clearInterval(timer)
    expect(events.map(({ batch }) => batch)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(events.every(({ epoch, images }) => epoch === 1 && images === 4)).toBe(true)
    expect(report).toMatchObject({ epoch: 1, images: 40, done: false })
    expect(ticks).toBeGreaterThan(2)
  })

  it('stops within one batch, and goes on from a state bit for bit', async () => {
    const whole = await model.trainer(spec, images, labels)
    await whole.epoch(() => {})
    const state = whole.state()
    await whole.epoch(() => {})
    const options = { name: 'x', model_id: 'emoji-clip', training: {}, metrics: {} }
    const expected = await whole.bundle(options)

    const stopped = await model.trainer(spec, images, labels)
    stopped.restore(state)
    const controller = new AbortController()
    const reason = new Error('enough')
    const seen: number[] = []
    const epoch = stopped.epoch(
      ({ batch }) => {
        seen.push(batch)
        if (batch === 3) controller.abort(reason)
      },
      { signal: controller.signal },
    )
    await expect(epoch).rejects.toMatchObject({ code: 'cancelled', cause: reason })
    expect(seen.length).toBeLessThan(stopped.plan.batches)

    stopped.restore(state)
    expect((await stopped.epoch(() => {})).done).toBe(true)
    expect(await stopped.bundle(options)).toEqual(expected)
  })

  it('gives the same bits on features that were computed before', async () => {
    const twice: TrainSpec = { ...spec, epochs: 3, views: 2 }
    const learn = async (trainer: Trainer) => {
      while (!(await trainer.epoch(() => {})).done);
      return await trainer.bundle({ name: 'x', model_id: 'emoji-clip', training: {}, metrics: {} })
    }
    const { augment, seed } = twice
    const parts = [0, 30].map((first) =>
      model.embedViews(images.slice(first, first + 30), { augment, seed, first, from: 0, to: 2 }),
    )
    const [head, tail] = await Promise.all(parts)
    const features = Float32Array.of(...(head?.features ?? []), ...(tail?.features ?? []))
    expect(features.length).toBe(40 * 2 * model.info.embed_dim)
    expect(await learn(await model.trainer(twice, [], labels, { features }))).toEqual(
      await learn(await model.trainer(twice, images, labels)),
    )
    await expect(model.trainer(spec, [], labels, { features: features.subarray(1) })).rejects.toMatchObject({
      code: 'bad_shape',
    })
  })

  it('makes the same step of the parts of several ranks', async () => {
    const whole = await model.trainer(spec, images, labels)
    const events: Progress[] = []
    const expected = await whole.epoch((event) => events.push(event))
    for (const world of [1, 3, 7]) {
      const ranks = await Promise.all(Array.from({ length: world }, () => model.trainer(spec, images, labels)))
      const seen: Progress[] = []
      let report = null
      while (report === null) {
        const parts = await Promise.all(ranks.map((trainer, rank) => trainer.part(rank, world)))
        expect(parts.reduce((sum, { images }) => sum + images, 0)).toBe(4)
        const sum = parts.slice(1).reduce(
          (sum, part) => ({
            gradient: sum.gradient.map((d, i) => d + (part.gradient[i] ?? Number.NaN)),
            loss: sum.loss + part.loss,
            correct: sum.correct + part.correct,
            images: sum.images + part.images,
          }),
          parts[0]!,
        )
        const applied = await Promise.all(ranks.map((trainer) => trainer.apply(sum)))
        seen.push(applied[0]!.progress)
        report = applied[0]!.report
      }
      expect(ranks.every((trainer) => Buffer.compare(trainer.state(), ranks[0]!.state()) === 0)).toBe(true)
      expect(ranks[0]!.position).toEqual({ epoch: 1, batch: 0 })
      if (world === 1) {
        expect([seen, report]).toEqual([events, expected])
        expect(ranks[0]!.state()).toEqual(whole.state())
      } else {
        for (const [i, { loss }] of seen.entries()) expect(loss).toBeCloseTo(events[i]!.loss, 4)
      }
    }
    await expect(whole.apply({ gradient: new Float32Array(3), loss: 1, correct: 0 })).rejects.toMatchObject({
      code: 'bad_shape',
    })
  }, 30_000)

  it('stops where the loss is not finite, with the state before', async () => {
    const trainer = await model.trainer({ ...spec, warmup_epochs: 1, lr: 1e30, epochs: 5 }, images, labels)
    await trainer.epoch(() => {})
    const run = async () => {
      for (;;) await trainer.epoch(() => {})
    }
    await expect(run()).rejects.toMatchObject({
      code: 'diverged',
      message: expect.stringMatching(/epoch 2, batch \d+: /),
    })
    expect(trainer.position.epoch).toBe(1)
    const again = await model.trainer({ ...spec, warmup_epochs: 1, lr: 1e30, epochs: 5 }, images, labels)
    again.restore(trainer.state())
    expect(again.position).toEqual(trainer.position)
  })

  it('names the images that have no views', async () => {
    const wanted = { augment: 'crop-flip', seed: 1, first: 0, from: 3, to: 5 } as const
    const { features, bad } = await model.embedViews([images[0]!, new Uint8Array(9)], wanted)
    expect(bad).toMatchObject([{ index: 1, code: 'unsupported_image' }])
    expect(features.subarray(2 * model.info.embed_dim).every((x) => x === 0)).toBe(true)
  })

  it.each([
    [
      'a label outside the classes',
      'bad_label',
      () =>
        model.trainer(
          spec,
          images,
          labels.map(() => 99),
        ),
    ],
    ['an option that cannot be', 'bad_option', () => model.trainer({ ...spec, batch_size: 0 }, images, labels)],
  ])('refuses %s', async (_, code, make) => {
    await expect(make()).rejects.toMatchObject({ name: 'CocoopError', code })
  })

  it('refuses a state that is none', async () => {
    const trainer = await model.trainer(spec, images, labels)
    expect(() => trainer.restore(new Uint8Array(100))).toThrow(expect.objectContaining({ code: 'bad_checkpoint' }))
  })
})

describe('texts', () => {
  it('come in batches with news of each, and stop when asked', async () => {
    const texts = Array.from({ length: 5000 }, (_, i) => `picture ${i}`)
    const controller = new AbortController()
    const news: [number, number][] = []
    const onProgress = (done: number, total: number) => news.push([done, total])
    const all = await model.embedTexts(texts, { onProgress })
    expect(news.map(([done]) => done)).toEqual([2048, 4096, 5000])
    const width = model.info.embed_dim
    expect(all.subarray(4999 * width)).toEqual(await model.embedTexts(texts.slice(4999)))

    const ensemble = model.textFeatures(texts, ['a {}.', 'the {}.'], { onProgress, signal: controller.signal })
    const asked = performance.now()
    controller.abort()
    await expect(ensemble).rejects.toMatchObject({ code: 'cancelled' })
    expect(performance.now() - asked).toBeLessThan(2000)
    expect(news).toHaveLength(3)
  })
})

describe('sampling', () => {
  it('gives indices of the right classes', async () => {
    const labels = Array.from({ length: 60 }, (_, i) => i % 3)
    const { train, val } = await fewShot({ labels, shots: 4, val_labels: labels, seed: 1 })
    expect(train.map((i) => labels[i]).sort()).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    expect(val.length).toBe(12)
    expect(await subsample(Uint32Array.from(labels), 'base')).toMatchObject({ classes: [0, 1] })
  })

  it('shuffles as Python', async () => {
    expect(await shuffles({ sizes: [10, 3], seed: 1 })).toEqual([
      [6, 8, 9, 7, 5, 3, 0, 4, 1, 2],
      [1, 2, 0],
    ])
  })
})
