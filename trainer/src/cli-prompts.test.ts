/** `checkpoint` and `interpret` as processes: what comes back is what went out, and what goes wrong is named. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { COLOURS, Home, makeColours } from './testing/cli.ts'

vi.setConfig({ testTimeout: 120_000 }) // processes, on a machine that may be busy
const home = new Home('prompts')
const run = (...args: string[]) => home.run(...args)

interface Near {
  token: string
  distance: number
}
interface Vectors {
  classname?: string
  vector: number
  nearest: Near[]
}

beforeAll(async () => {
  await makeColours(home.file('colours'))
  const short = ['--data', 'colours', '--shots', '2', '--epochs', '1', '--augment', 'none', '--quiet']
  const made = [
    run('train', ...short, '--method', 'cocoop', '--out', 'cocoop'),
    run('train', ...short, '--method', 'coop', '--csc', '--n-ctx', '3', '--out', 'csc'),
    // A step of 1e-30 leaves the words what they are.
    run('train', ...short, '--method', 'coop', '--ctx-init', 'a photo of a', '--warmup-lr', '1e-30', '--out', 'words'),
  ]
  for (const { code, stderr } of await Promise.all(made)) expect(stderr, stderr).toSatisfy(() => code === 0)
}, 240_000)

describe('checkpoint', () => {
  test.each(['cocoop', 'csc'])('what is exported of %s is imported with the same prompt', async (method) => {
    const epoch = '10'
    const file = `${method}.pth.tar-10`
    const exported = await home.json('checkpoint', 'export', method, '--out', file, '--epoch', epoch)
    expect(exported).toMatchObject({ out: file, epoch: 10 })
    const out = `${method}.safetensors`
    const imported = await home.json('checkpoint', 'import', file, '--out', out)
    const csc = method === 'csc'
    expect(imported).toMatchObject({
      method: csc ? 'coop' : 'cocoop',
      n_ctx: csc ? 3 : 4,
      csc,
      classnames: COLOURS,
      checkpoint: { epoch: 10, dtype: 'F32' },
    })
    const [before, after] = [
      await home.json<{ vectors: unknown }>('interpret', method),
      await home.json<{ vectors: unknown }>('interpret', out),
    ]
    expect(after.vectors).toEqual(before.vectors)
    const [a, b] = [
      await home.json<{ correct: number; ece: number }>('eval', '--bundle', method, '--data', 'colours'),
      await home.json<{ correct: number; ece: number }>('eval', '--bundle', out, '--data', 'colours'),
    ]
    expect([b.correct, b.ece]).toEqual([a.correct, a.ece])
    await run('checkpoint', 'export', method, '--out', `again-${file}`, '--epoch', epoch)
    expect(readFileSync(home.file(`again-${file}`))).toEqual(readFileSync(home.file(file)))
  })

  test("a run's folder is written and read as the original's", async () => {
    mkdirSync(home.file('output'))
    const printed = await run('checkpoint', 'export', 'cocoop', '--out', 'output')
    expect(printed).toMatchObject({ code: 0, stdout: 'epoch 1: output/prompt_learner/model.pth.tar-1\n' })
    expect(readFileSync(home.file('output/prompt_learner/checkpoint'), 'utf8')).toBe('model.pth.tar-1\n')
    for (const [i, target] of ['output', 'output/prompt_learner'].entries()) {
      const imported = await run('checkpoint', 'import', target, '--data', 'colours', '--out', `run-${i}.safetensors`)
      expect(imported).toMatchObject({ code: 0, stdout: expect.stringMatching(/^cocoop, 4 vectors, 4 classes: /) })
    }
    expect(await run('checkpoint', 'import', 'output', '--epoch', '7', '--out', 'x')).toMatchObject({ code: 4 })
  })

  test('class names are taken from where the user says, and checked', async () => {
    await run('checkpoint', 'export', 'csc', '--out', 'named.pth.tar')
    writeFileSync(home.file('names.txt'), `${COLOURS.join('\n')}\n`)
    const names = ['checkpoint', 'import', 'named.pth.tar', '--out', 'named.safetensors', '--classnames', 'names.txt']
    expect(await run(...names)).toMatchObject({ code: 0 })
    expect(await run(...names)).toMatchObject({ code: 1, stderr: expect.stringContaining('is there already') })
    writeFileSync(home.file('others.txt'), 'black\nblue\ngreen\nyellow\n')
    const other = ['checkpoint', 'import', 'named.pth.tar', '--out', 'other.safetensors']
    const wrong = await run(...other, '--classnames', 'others.txt')
    expect(wrong).toMatchObject({ code: 3, stdout: '' })
    expect(wrong.stderr).toContain('class 2: got "green", the checkpoint was learned with "red"')
    expect(await run(...other, '--data', 'colours', '--classes', 'base')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('the checkpoint has 4 classes, got 2'),
    })
    expect(existsSync(home.file('other.safetensors'))).toBe(false)
  })

  test('what is no checkpoint is refused', async () => {
    writeFileSync(home.file('text.pth.tar'), 'no zip')
    writeFileSync(home.file('empty.txt'), '\n')
    const to = ['--out', 'never.safetensors']
    for (const [args, code] of [
      [['import', 'text.pth.tar', ...to], 5],
      [['import', 'none.pth.tar', ...to], 4],
      [['import', 'colours', ...to], 4],
      [['import', 'text.pth.tar'], 2],
      [['import', 'text.pth.tar', ...to, '--epoch', '3'], 2],
      [['import', 'text.pth.tar', ...to, '--data', 'colours', '--classnames', 'names.txt'], 2],
      [['import', 'text.pth.tar', ...to, '--classnames', 'empty.txt'], 3],
      [['export', 'runs/none', ...to], 4],
      [['publish'], 2],
    ] as const) {
      const ended = await run('checkpoint', ...args)
      expect({ args, code: ended.code, stdout: ended.stdout }).toEqual({ args, code, stdout: '' })
    }
    expect(existsSync(home.file('never.safetensors'))).toBe(false)
  })
})

describe('interpret', () => {
  test('vectors that are words lie on these words', async () => {
    const { vectors } = await home.json<{ vectors: Vectors[] }>('interpret', 'words', '--top-k', '3')
    expect(vectors.map(({ vector }) => vector)).toEqual([1, 2, 3, 4])
    expect(vectors.map(({ nearest }) => nearest[0]?.token)).toEqual(['a</w>', 'photo</w>', 'of</w>', 'a</w>'])
    for (const { nearest } of vectors) {
      expect(nearest).toHaveLength(3)
      expect(nearest[0]?.distance).toBe(0)
      expect(nearest[1]?.distance).toBeGreaterThan(0)
    }
    const { stdout } = await run('interpret', 'words', '--top-k', '1')
    expect(stdout).toContain('photo</w> 0.0000')
  })

  test('each class has vectors of its own', async () => {
    const { vectors } = await home.json<{ vectors: Vectors[] }>('interpret', 'csc')
    expect(vectors.map(({ classname, vector }) => `${classname} ${vector}`)).toEqual(
      COLOURS.flatMap((name) => [1, 2, 3].map((vector) => `${name} ${vector}`)),
    )
    expect((await run('interpret', 'csc')).stdout).toMatch(/^coop, 3 vectors .*\nclass +vector +near 1 /)
  })

  test('the Meta-Net is followed over a data set and over images', async () => {
    const { shift } = await home.json<{
      shift: {
        mean: number
        common_share: number
        images: { path: string; classname: string; shift: number }[]
        per_class: { classname: string; images: number; mean: number; mean_shift: number[] }[]
        most: { path: string; shift: number; vectors: Vectors[] }[]
        least: { path: string; shift: number }[]
      }
    }>('interpret', 'cocoop', '--data', 'colours', '--extremes', '2')
    expect(shift.images).toHaveLength(16)
    const lengths = shift.images.map(({ shift }) => shift)
    expect(shift.mean).toBeCloseTo(lengths.reduce((sum, x) => sum + x, 0) / 16, 10)
    expect(shift.most.map(({ shift }) => shift)).toEqual(lengths.toSorted((a, b) => b - a).slice(0, 2))
    expect(shift.least.map(({ shift }) => shift)).toEqual(lengths.toSorted((a, b) => a - b).slice(0, 2))
    expect(shift.common_share).toBeGreaterThan(0)
    expect(shift.common_share).toBeLessThan(1)
    expect(shift.per_class.map(({ classname, images }) => [classname, images])).toEqual(
      COLOURS.map((name) => [name, 4]),
    )

    const one = 'colours/test/red/0.png'
    const { images } = await home.json<{ images: { path: string; shift: number; vectors: Vectors[] }[] }>(
      'interpret',
      'cocoop',
      '--images',
      one,
    )
    expect(images).toMatchObject([{ path: one, vectors: [{ vector: 1 }, { vector: 2 }, { vector: 3 }, { vector: 4 }] }])
    const same = shift.images.find(({ path, classname }) => classname === 'red' && path.endsWith('red/0.png'))
    expect(images[0]?.shift).toBeCloseTo(same?.shift ?? Number.NaN, 6)
    const { stdout } = await run('interpret', 'cocoop', '--data', 'colours')
    expect(stdout).toMatch(/common to all images +\d+\.\d\d% of the mean square/)
  })

  test('what has no vectors, or none that move, is refused', async () => {
    expect(await run('interpret', 'csc', '--data', 'colours')).toMatchObject({ code: 2 })
    expect(await run('interpret', 'runs/none')).toMatchObject({ code: 4, stdout: '' })
    expect(await run('interpret', 'cocoop', '--images', 'none.png')).toMatchObject({ code: 4 })
    expect(await run('interpret', 'cocoop', '--top-k', '0')).toMatchObject({ code: 2 })
    await run('train', '--data', 'colours', '--method', 'zero-shot', '--out', 'zero')
    expect(await run('interpret', 'zero')).toMatchObject({
      code: 5,
      stderr: expect.stringContaining('nothing was learned'),
    })
  })
})
