/** Run folders as a run leaves them, with predictions that are drawn: what reports are tested on. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openDataset } from '../datasets/open.ts'
import { calibrationError, score } from '../metrics.ts'
import type { Prediction } from '../runs/test.ts'

/** Numbers from 0 to 1 that are the same every time. */
export function draws(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

export interface MadeTest {
  data: string
  classes: string
  classnames: string[]
  images: { path: string; label: number }[]
  source?: { data: string }
}

/** A test on images that are there: the first of an embedded set's test images. */
export async function embeddedTest(data: string, images = 400): Promise<MadeTest> {
  const { classnames, test } = await openDataset(data)
  return { data, classes: 'all', classnames, images: test.slice(0, images).map(({ path, label }) => ({ path, label })) }
}

/** A test on images that are nowhere. */
export function inventedTest(n_cls: number, images: number, { data = 'gone', classes = 'all' } = {}): MadeTest {
  const classnames = Array.from({ length: n_cls }, (_, i) => `class ${i}`)
  return {
    data,
    classes,
    classnames,
    images: Array.from({ length: images }, (_, i) => ({ path: `${i}.jpg`, label: i % n_cls })),
  }
}

export interface Made {
  tests?: readonly MadeTest[]
  options?: Record<string, unknown>
  data?: string
  /** Share of right answers. */
  accuracy?: number
  steps?: number
  epochs?: number
  finished?: boolean
}

/** Writes the folder of a run. */
export function makeRun(folder: string, made: Made = {}): void {
  const { tests = [], options = {}, accuracy = 0.8, steps = 0, epochs = 4, finished = true } = made
  const data = made.data ?? tests[0]?.data ?? 'gone'
  const all = { method: 'cocoop', data, shots: 16, classes: 'all', seed: 1, n_ctx: 4, epochs, lr: 0.002, ...options }
  mkdirSync(join(folder, 'tests'), { recursive: true })
  const write = (name: string, value: unknown) => writeFileSync(join(folder, name), JSON.stringify(value))
  write('config.json', {
    version: '0.1.0',
    options: all,
    data: { name: data, n_train: 160, n_cls: 10, fingerprint: '0'.repeat(64) },
    model: { id: 'emoji-clip', sha256: '0'.repeat(64) },
  })
  if (steps > 0) writeFileSync(join(folder, 'metrics.jsonl'), metrics(steps, epochs, all.seed))
  const draw = draws(all.seed)
  for (const { data, classes, classnames, images, source } of tests) {
    const predictions = images.map(({ path, label }): Prediction => {
      const right = draw() < accuracy
      const predicted = right ? label : (label + 1 + Math.floor(2 * draw())) % classnames.length
      const prob = 0.3 + 0.7 * draw()
      return { path, label, predicted, prob, prob_label: right ? prob : (1 - prob) * draw() }
    })
    const labels = predictions.map(({ label }) => label)
    const figures = score(
      predictions.map(({ predicted }) => predicted),
      labels,
      classnames,
    )
    const ece = calibrationError(
      predictions.map(({ prob }) => prob),
      predictions.map(({ label, predicted }) => label === predicted),
    )
    writeFileSync(
      join(folder, `tests/${data}-${classes}.jsonl`),
      predictions.map((line) => `${JSON.stringify(line)}\n`).join(''),
    )
    write(`tests/${data}-${classes}.json`, {
      data,
      classes,
      split: 'test',
      n_cls: classnames.length,
      ece,
      classnames,
      source,
      ...figures,
    })
  }
  if (finished)
    write('result.json', {
      run: folder,
      method: all.method,
      metrics: {},
      h: null,
      loss: 1,
      steps,
      seconds: 61,
      images_per_second: 100,
    })
}

function metrics(steps: number, epochs: number, seed: number): string {
  const draw = draws(seed + 1)
  const lines: unknown[] = []
  for (let step = 1; step <= steps; step++) {
    const epoch = Math.ceil((step * epochs) / steps)
    lines.push({
      kind: 'step',
      step,
      epoch,
      batch: 1,
      loss: draw() + 2 * Math.exp((-3 * step) / steps),
      lr: 0.002 / epoch,
      correct: 1,
      images: 1,
    })
    if (step === Math.round((epoch * steps) / epochs)) {
      lines.push({
        kind: 'epoch',
        step,
        epoch,
        loss: 1 / epoch,
        accuracy: 1 - 0.5 / epoch,
        lr: 0.002 / epoch,
        images: 1,
        done: epoch === epochs,
      })
    }
  }
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('')
}
