/** The linear probe through the addon, on the embedded model's own features: it learns, stops when asked, and refuses by name. */
import { beforeAll, describe, expect, it } from 'vitest'
import { readModel } from '../../test/support/material.ts'
import { openDataset } from '../../trainer/src/datasets/open.ts'
import { fitLinearProbe, type LinearProbeProblem, linearProbeProbs, nativeEngine } from './node.ts'

let problem: LinearProbeProblem & { features: Float32Array; labels: Uint32Array }
let normalized: Float32Array
let dim: number
beforeAll(async () => {
  using model = await (await nativeEngine()).loadModel(await readModel())
  const { classnames, train } = await openDataset('emoji-backdrops')
  const shots = classnames.flatMap((_, label) => train.filter((item) => item.label === label).slice(0, 4))
  const images = await Promise.all(shots.map((item) => item.read()))
  const labels = Uint32Array.from(shots, (item) => item.label)
  const { features } = await model.embedImages(images, { normalized: false })
  normalized = (await model.embedImages(images)).features
  dim = model.info.embed_dim
  problem = { features, labels, n_cls: classnames.length, c: 1 }
}, 60_000)

describe('features as they leave the tower', () => {
  it('have the directions of the normalised ones, and lengths of their own', () => {
    const lengths = new Set<number>()
    for (let row = 0; row < normalized.length; row += dim) {
      const whole = problem.features.subarray(row, row + dim)
      const length = Math.hypot(...whole)
      lengths.add(Math.round(length * 1e4))
      whole.forEach((x, i) => {
        expect(x / length).toBeCloseTo(normalized[row + i] as number, 6)
      })
    }
    expect(lengths.size).toBeGreaterThan(10)
  })
})

describe('fitLinearProbe', () => {
  it('tells the images that it learned from apart, and gives the same bits again', async () => {
    const fit = await fitLinearProbe({ ...problem, c: 100 })
    expect(fit).toMatchObject({
      converged: true,
      weight: { length: problem.n_cls * dim },
      bias: { length: problem.n_cls },
    })
    const probs = await linearProbeProbs(fit, problem.features)
    const right = [...problem.labels].filter((label, i) => {
      const row = probs.subarray(i * problem.n_cls, (i + 1) * problem.n_cls)
      expect(row.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5)
      return row.indexOf(Math.max(...row)) === label
    })
    expect(right).toHaveLength(problem.labels.length)
    expect(await fitLinearProbe({ ...problem, c: 100 })).toEqual(fit)
  })

  it('goes on from where it is told to', async () => {
    const fit = await fitLinearProbe(problem)
    const again = await fitLinearProbe({ ...problem, start: fit })
    expect(fit.iterations).toBeGreaterThan(5)
    expect(again.iterations).toBeLessThan(3)
    expect(await fitLinearProbe({ ...problem, max_iter: 2 })).toMatchObject({ iterations: 2, converged: false })
  })

  it('stops when asked', async () => {
    const controller = new AbortController()
    // Of noise in more dimensions than there are images, without a penalty: the search would go on for hundreds of steps.
    const n = 3000
    const noise = Float32Array.from({ length: n * 256 }, (_, i) => Math.sin(i * i * 12.9898) * 100)
    const labels = Uint32Array.from({ length: n }, (_, i) => i % 100)
    const fit = fitLinearProbe({ features: noise, labels, n_cls: 100, c: 1e6 }, { signal: controller.signal })
    setTimeout(() => controller.abort(), 100)
    await expect(fit).rejects.toMatchObject({ code: 'cancelled' })
  })

  it.each<[string, string, () => Partial<LinearProbeProblem>]>([
    ['one class', 'bad_classes', () => ({ n_cls: 1 })],
    ['a label outside the classes', 'bad_label', () => ({ n_cls: 2 })],
    ['a class without images', 'too_few_images', () => ({ n_cls: 21 })],
    ['features that are not whole', 'bad_shape', () => ({ features: problem.features.subarray(1) })],
    ['a C of 0', 'bad_option', () => ({ c: 0 })],
    ['a C that JSON cannot say', 'bad_option', () => ({ c: Number.NaN })],
    ['a half of a step', 'bad_option', () => ({ max_iter: 1.5 })],
    [
      'a start of another shape',
      'bad_shape',
      () => ({ start: { weight: new Float32Array(3), bias: new Float32Array(20) } }),
    ],
  ])('refuses %s', async (_, code, change) => {
    await expect(fitLinearProbe({ ...problem, ...change() })).rejects.toMatchObject({ name: 'CocoopError', code })
  })
})
