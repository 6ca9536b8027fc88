/**
 * The main job end to end, with nothing replaced: train, eval, publish to KV, `wrangler dev`, POST /classify.
 * What the worker answers (WASM in workerd) must be what `eval` says (the native addon) for the same images.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openDataset } from '../../trainer/src/datasets/open.ts'
import { startWorker, type WorkerProcess } from '../../trainer/src/worker-process.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const CLI = join(ROOT, 'trainer/dist/cli.js')
const home = mkdtempSync(join(tmpdir(), 'cocoop-e2e-'))
const config = join(home, 'wrangler.toml')
const METHODS = ['coop', 'cocoop', 'zero-shot'] as const
/** Native and WASM sum in another order; larger differences are another computation. */
const LIMIT = 1e-4
const IMAGES = 8

interface Predictions {
  predictions: { classname: string; index: number; prob: number; cosine: number }[]
}
let worker: WorkerProcess

function cocoopTrain(...args: string[]): unknown {
  return JSON.parse(
    execFileSync(process.execPath, [CLI, ...args, '--json', '--quiet'], { cwd: home, encoding: 'utf8' }),
  )
}

beforeAll(async () => {
  // The repository's own worker, on a state of its own.
  const toml = readFileSync(join(ROOT, 'wrangler.toml'), 'utf8')
  writeFileSync(config, toml.replace(/^main = "/m, `main = "${ROOT}/`))
  for (const method of METHODS) {
    if (method === 'zero-shot')
      cocoopTrain('zero-shot', '--data', 'emoji-backdrops', '--classes', 'base', '--out', method)
    else
      cocoopTrain(
        'train',
        '--data',
        'emoji-backdrops',
        '--method',
        method,
        '--classes',
        'base',
        '--shots',
        '2',
        '--epochs',
        '2',
        '--out',
        method,
      )
    cocoopTrain('publish', method, '--name', `served-${method}`, '--wrangler', config)
    cocoopTrain(
      'eval',
      '--bundle',
      `served-${method}`,
      '--wrangler',
      config,
      '--data',
      'emoji-backdrops',
      '--predictions',
      `${method}.jsonl`,
      '--top-k',
      '10',
    )
  }
  worker = await startWorker({ config, log: join(home, 'worker.log'), signal: AbortSignal.timeout(100_000) })
}, 300_000)

afterAll(async () => {
  await worker?.[Symbol.asyncDispose]()
})

test('the local KV lists, shows and rolls back what was published', () => {
  const listed = cocoopTrain('bundles', 'list', '--wrangler', config) as { name: string; method: string }[]
  expect(listed.map(({ name }) => name)).toEqual(METHODS.map((method) => `served-${method}`).sort())
  const shown = cocoopTrain('bundles', 'show', 'served-coop', '--wrangler', config) as {
    versions: string[]
    sha256: string
  }
  expect(shown.versions).toEqual([shown.sha256])
  const again = ['bundles', 'rollback', `served-coop@${shown.sha256}`, '--wrangler', config]
  expect(cocoopTrain(...again)).toMatchObject({ name: 'served-coop', sha256: shown.sha256 })
}, 60_000)

test.each(METHODS)(
  "%s: the worker's answers are eval's",
  async (method) => {
    const { test: items } = await openDataset('emoji-backdrops')
    const lines = readFileSync(join(home, `${method}.jsonl`), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Predictions & { path: string })
    let largest = 0
    for (const expected of lines.filter((_, i) => i % Math.ceil(lines.length / IMAGES) === 0)) {
      const image = await items.find(({ path }) => path === expected.path)?.read()
      const answer = await fetch(`${worker.url}/classify?bundle=served-${method}&top_k=10`, {
        method: 'POST',
        headers: { 'content-type': 'image/png' },
        body: Uint8Array.from(image ?? []),
      })
      expect(answer.status).toBe(200)
      const { predictions } = (await answer.json()) as Predictions
      expect(predictions).toHaveLength(10)
      for (const { index, prob, classname } of expected.predictions) {
        const served = predictions.find((prediction) => prediction.index === index)
        expect(served?.classname).toBe(classname)
        largest = Math.max(largest, Math.abs((served?.prob ?? Number.NaN) - prob))
      }
    }
    expect(largest).toBeLessThan(LIMIT)
  },
  60_000,
)

test('the worker stops when it is asked, and its port is free', async () => {
  const { url } = worker
  await worker[Symbol.asyncDispose]()
  await worker.ended
  await expect(fetch(url)).rejects.toThrow()
}, 30_000)
