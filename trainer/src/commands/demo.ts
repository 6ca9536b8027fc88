/**
 * `cocoop-train demo`, which `npm start` runs: the whole way from a few pictures to a served prompt, on what is embedded.
 * Nothing in it is special: each step is a command of its own, and is named as it goes.
 */
import { readFile, rm } from 'node:fs/promises'
import { relative } from 'node:path'
import { nativeEngine } from 'cocoop/node'
import { z } from 'zod'
import { type Context, defineCommand } from '../command.ts'
import type { Dataset } from '../datasets/dataset.ts'
import { openDataset } from '../datasets/open.ts'
import { TrainError } from '../errors.ts'
import { evaluateBundle, type Figures, figures, harmonic } from '../evaluate.ts'
import { readJson, writeDurably } from '../files.ts'
import { embedAll } from '../images.ts'
import { DEFAULT_MODEL, openModel } from '../models.ts'
import { TRAIN } from '../runs/options.ts'
import { finishedRun, type RunResult } from '../runs/result.ts'
import { runTraining } from '../runs/run.ts'
import { selectSplit } from '../select.ts'
import { findWranglerConfig } from '../stores.ts'
import { table } from '../table.ts'
import { startWorker } from '../worker-process.ts'
import { publishTo } from './publish.ts'

const DATA = 'emoji-backdrops'
const NAME = 'backdrops'
const TEMPLATE = 'a photo of a {}.'

const Answer = z.object({ predictions: z.array(z.object({ classname: z.string(), prob: z.number() })).min(1) })
type Answer = z.infer<typeof Answer>

export const demo = defineCommand({
  name: 'demo',
  summary: 'The whole way on embedded data: train, compare, publish, serve, classify',
  details: 'A finished run is used again; the worker stays until Ctrl-C.',
  flags: z.object({
    once: z.boolean().default(false).meta({ description: 'End after the classification' }),
    fresh: z.boolean().default(false).meta({ description: 'Train again, even if there is a finished run' }),
    out: z.string().default('runs/demo').meta({ description: 'Folder of the run', value: 'DIR', short: 'o' }),
    port: z
      .number()
      .int()
      .min(1)
      .max(65_535)
      .optional()
      .meta({ description: 'Port of the worker (default 8787 or any free one)' }),
  }),
  examples: ['cocoop-train demo', 'cocoop-train demo --once --fresh'],
  run: async (flags, context) => {
    const { terminal, print, signal } = context
    const step = (text: string) => terminal.log(`\n${terminal.paint('bold', text)}`)
    terminal.log(
      `The embedded model ${DEFAULT_MODEL} is tiny and knows drawings, not photographs; ${DATA} asks for the colour behind a drawing.`,
    )

    step('1  Learn CoCoOp prompts from 16 images of each base class')
    const result = await trained(flags.out, flags.fresh, context)

    step('2  Compare with zero-shot CLIP, on classes that were trained on (base) and on classes that were not (new)')
    const dataset = await openDataset(DATA)
    const bundle = await readFile(`${flags.out}/bundle.safetensors`)
    const comparison = await compare(dataset, result, context)
    print(comparisonTable(comparison))

    step('3  Publish the bundle to the local KV')
    const config = findWranglerConfig()
    const { sha256 } = await publishTo(
      bundle,
      { name: NAME, model: DEFAULT_MODEL, kv: 'local', wrangler: config, store: undefined },
      context,
    )
    terminal.log(`${NAME}@${sha256.slice(0, 12)}, ${bundle.length} bytes`)

    step('4  Serve it')
    await using worker = await startWorker({ config, log: `${flags.out}/worker.log`, port: flags.port, signal })
    terminal.log(`the worker runs at ${worker.url}; its output is in ${flags.out}/worker.log`)

    step('5  Classify a held-out image')
    const { items } = await selectSplit(dataset, 'test', 'all')
    const item = items[0]
    if (item === undefined) throw new TrainError('bad_data', `${DATA} has no test images`)
    const image = `${flags.out}/held-out.png`
    await writeDurably(image, await item.read())
    const answer = await classify(worker.url, await item.read(), signal)
    const rows = answer.predictions.map(({ classname, prob }) => [classname, `${(100 * prob).toFixed(1)}%`])
    print(`${item.path}, which is "${item.classname}"\n${table(['class', 'probability'], rows)}`)
    const curl = `curl -sS -H 'content-type: image/png' --data-binary @${relative('.', image)} '${worker.url}/classify?bundle=${NAME}'`
    print(`\nThe same by hand:\n  ${curl}`)

    const document = {
      run: result.run,
      bundle: { name: NAME, sha256 },
      comparison,
      url: worker.url,
      image,
      label: item.classname,
      ...answer,
      curl,
    }
    if (flags.once) return document
    terminal.log('\nThe worker runs until Ctrl-C.')
    const interrupted = new Promise<void>((done) => signal.addEventListener('abort', () => done(), { once: true }))
    await Promise.race([interrupted, worker.ended])
    if (!signal.aborted)
      throw new TrainError('worker_failed', 'the worker ended by itself', `Its output is in ${flags.out}/worker.log.`)
    return document
  },
})

/** The finished run in `out`, or one that is started, or gone on with, now. */
async function trained(out: string, fresh: boolean, context: Context): Promise<RunResult> {
  const { terminal } = context
  if (fresh) await rm(out, { recursive: true, force: true })
  const begun = (await readJson(`${out}/config.json`)) !== undefined
  if ((await finishedRun(out)) !== undefined)
    terminal.log('the run of an earlier start is used again; --fresh trains anew')
  else if (begun) terminal.log('an earlier start was stopped: going on with its run; --fresh starts anew')
  const flags = TRAIN.parse({
    data: DATA,
    method: 'cocoop',
    classes: 'base',
    shots: 16,
    seed: 1,
    name: NAME,
    out,
    resume: begun,
  })
  return runTraining(flags, { ...context, given: new Set() })
}

/** Accuracy of both methods on both halves. CoCoOp's were measured at the end of its training. */
async function compare(dataset: Dataset, { metrics }: RunResult, context: Context) {
  const zeroShot: Record<string, Figures> = {}
  const opened = await openModel(await nativeEngine(), DEFAULT_MODEL, context)
  using model = opened.model
  for (const classes of ['base', 'new'] as const) {
    const data = await embedAll(model, await selectSplit(dataset, 'test', classes), { ...context, skipBad: false })
    const metadata = { name: 'zero-shot', model_id: opened.id, training: {}, metrics: {} }
    const bundle = await model.zeroShotBundle({ classnames: data.classnames, templates: [TEMPLATE], metadata })
    zeroShot[classes] = figures(await evaluateBundle(model, bundle, data, context))
  }
  return { 'zero-shot': { ...zeroShot }, cocoop: metrics } satisfies Record<string, Record<string, Figures>>
}

function comparisonTable(comparison: Record<string, Record<string, Figures>>): string {
  const percent = (value: number | undefined) => (value === undefined ? '-' : `${value.toFixed(1)}%`)
  const label: Record<string, string> = { 'zero-shot': `zero-shot CLIP, "${TEMPLATE}"`, cocoop: 'CoCoOp, 16 shots' }
  const rows = Object.entries(comparison).map(([method, results]) => [
    label[method] ?? method,
    percent(results.base?.accuracy),
    percent(results.new?.accuracy),
    percent(harmonic(results)),
  ])
  return table(['accuracy on test images', 'base', 'new', 'H'], rows)
}

async function classify(url: string, image: Uint8Array, signal: AbortSignal): Promise<Answer> {
  const response = await fetch(`${url}/classify?bundle=${NAME}`, {
    method: 'POST',
    headers: { 'content-type': 'image/png' },
    body: Uint8Array.from(image),
    signal: AbortSignal.any([signal, AbortSignal.timeout(60_000)]),
  })
  const text = await response.text()
  if (!response.ok)
    throw new TrainError('worker_failed', `POST ${url}/classify answered ${response.status}: ${text.slice(0, 500)}`)
  return Answer.parse(JSON.parse(text))
}
