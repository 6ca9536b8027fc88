/**
 * One training run from its flags to its bundle. Whatever stops it, --resume goes on to the same final bits:
 * the engine's state is saved at each epoch's end and on Ctrl-C, and all else follows from config.json and the data.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type EngineModel, type NativeModel, nativeEngine, type Progress, type Trainer } from 'cocoop/node'
import { z } from 'zod'
import type { Context } from './command.ts'
import type { Dataset } from './datasets/dataset.ts'
import { openDataset } from './datasets/open.ts'
import { codeOf, TrainError } from './errors.ts'
import { evaluateBundle, type Figures, figures, harmonic } from './evaluate.ts'
import { sha256, writeDurably } from './files.ts'
import { embedAll, type ReadOptions, readAll } from './images.ts'
import { readModel } from './models.ts'
import { formatDuration, formatRate, Meter } from './progress.ts'
import { RunFolder } from './run-folder.ts'
import { type Classes, fingerprint, selectShots, selectSplit } from './select.ts'
import { resolve, type TrainFlags, type TrainOptions, trainSpec } from './train-options.ts'
import { VERSION } from './version.ts'

/** result.json. `metrics` are on the test split: of the trained classes, and after training on the base ones of the new ones too. */
export interface RunResult {
  run: string
  bundle: { path: string; sha256: string; name: string }
  metrics: Record<string, Figures>
  /** Harmonic mean of base and new accuracy, where both were measured. */
  h: number | null
  /** The last epoch's. */
  loss: number
  steps: number
  /** Of the part of the run that this process did. */
  seconds: number
  images_per_second: number
}

const Config = z.object({
  version: z.string(),
  options: z.record(z.string(), z.unknown()),
  data: z.object({ name: z.string(), n_train: z.number(), n_cls: z.number(), fingerprint: z.string() }),
  model: z.object({ id: z.string(), sha256: z.string() }),
})
/** config.json: enough to repeat the run by `--config`. */
type Config = z.infer<typeof Config>

/** A finished run's result, or `undefined`. */
export async function finishedRun(folder: string): Promise<RunResult | undefined> {
  const text = await readFile(join(folder, 'result.json'), 'utf8').catch(() => undefined)
  return text === undefined ? undefined : (JSON.parse(text) as RunResult)
}

/**
 * Trains as `flags` say, or goes on with the run that they name.
 * @throws TrainError `exists`, `locked`, `not_found`, `cancelled` (with what to type to go on), `no_space`, and the words of bad data.
 */
export async function runTraining(flags: TrainFlags, context: Context): Promise<RunResult> {
  const { terminal, signal } = context
  const folder = flags.out ?? defaultFolder(flags, (await openDataset(requireData(flags))).name)
  using run = flags.resume ? RunFolder.open(folder) : await RunFolder.create(folder)
  const stored = flags.resume ? await readConfig(run, flags, context.given) : undefined
  const done = await finishedRun(folder)
  if (done !== undefined) {
    terminal.log(`${folder} is finished`)
    return done
  }
  const untee = terminal.tee((line) => run.log(line))
  try {
    const engine = await nativeEngine()
    const dataset = await openDataset(stored?.options.data ?? requireData(flags))
    const options = stored?.options ?? resolve(flags, dataset.name, (text) => engine.tokenize(text).length)
    const files = await readModel(options.model)
    using model = await engine.loadModel(files, { signal })
    const shots = await selectShots(dataset, { ...options, allowFewer: options.allow_fewer })
    const reading: ReadOptions = { terminal, signal, skipBad: options.skip_bad }
    const data = await readAll(model, shots, reading)
    const config: Config = {
      version: VERSION,
      options,
      data: {
        name: dataset.name,
        n_train: data.items.length,
        n_cls: data.classnames.length,
        fingerprint: fingerprint(data, data.images),
      },
      model: { id: files.id, sha256: model.info.sha256 },
    }
    if (stored === undefined) await run.writeJson('config.json', config)
    else compare(run, stored, config, context)
    terminal.log(
      `${options.method} on ${dataset.name}: ${data.classnames.length} ${options.classes === 'all' ? '' : `${options.classes} `}classes, ${data.items.length} images, model ${files.id}, run ${folder}`,
    )
    const trainer = await model.trainer(
      trainSpec(options, data.classnames),
      data.images,
      Uint32Array.from(data.labels),
      { signal },
    )
    const learned = await learn(trainer, run, context)
    return await finish({ run, trainer, model, dataset, options, config, learned, reading })
  } catch (cause) {
    const begun = (await run.readJson('config.json')) !== undefined
    if (codeOf(cause) !== 'cancelled' || cause instanceof TrainError || !begun) throw cause
    throw new TrainError('cancelled', 'stopped; nothing is lost', resumeHint(run), { cause })
  } finally {
    terminal.clear()
    untee()
  }
}

interface Learned {
  loss: number
  steps: number
  seconds: number
  images: number
}

/** Runs the epochs that are left; saves the state after each, and when stopped. */
async function learn(trainer: Trainer, run: RunFolder, context: Context): Promise<Learned> {
  const { terminal, signal } = context
  const { epochs, batches } = trainer.plan
  let { step, loss } = await restore(trainer, run, context)
  const meter = new Meter(trainer.plan)
  const started = performance.now()
  let images = 0
  let line = ''
  // A callback of the engine cannot throw: a full disk is remembered, stops the epoch and is thrown from here.
  const stop = new AbortController()
  let failure: unknown
  const onProgress = (event: Progress) => {
    step = (event.epoch - 1) * batches + event.batch
    images += event.images
    line = meter.line(event)
    terminal.status(line)
    try {
      run.metric({ kind: 'step', step, ...event })
    } catch (cause) {
      failure ??= cause
      stop.abort()
    }
  }
  while (step < epochs * batches) {
    try {
      const report = await trainer.epoch(onProgress, { signal: AbortSignal.any([signal, stop.signal]) })
      if (failure !== undefined) throw failure
      step = report.epoch * batches
      loss = report.loss
      run.metric({ kind: 'epoch', step, ...report })
      run.log(
        `epoch ${report.epoch}/${epochs}: loss ${report.loss.toFixed(4)}, training accuracy ${(100 * report.accuracy).toFixed(1)}%`,
      )
      await run.saveCheckpoint(step, trainer.state())
    } catch (cause) {
      if (failure !== undefined) throw failure
      if (codeOf(cause) !== 'cancelled') throw cause
      await run.saveCheckpoint(step, trainer.state())
      terminal.clear()
      throw new TrainError(
        'cancelled',
        `stopped after ${step} of ${epochs * batches} steps; nothing is lost`,
        resumeHint(run),
        { cause },
      )
    }
  }
  const seconds = (performance.now() - started) / 1000
  if (line !== '') terminal.settle(line)
  if (images > 0)
    terminal.log(`trained on ${images} images in ${formatDuration(seconds)}: ${formatRate(images / seconds)} images/s`)
  return { loss, steps: step, seconds, images }
}

/** Continues from the newest readable state, and from the start where there is none. */
async function restore(
  trainer: Trainer,
  run: RunFolder,
  { terminal }: Context,
): Promise<{ step: number; loss: number }> {
  for (const { step, path } of await run.checkpoints()) {
    try {
      trainer.restore(await readFile(path))
    } catch (cause) {
      if (codeOf(cause) !== 'bad_checkpoint') throw cause
      terminal.warn(
        `${path} cannot be read (${cause instanceof Error ? cause.message : cause}); trying the one before it`,
      )
      continue
    }
    const loss = await run.trimMetrics(step)
    terminal.log(`going on after step ${step} of ${trainer.plan.epochs * trainer.plan.batches}`)
    return { step, loss }
  }
  return { step: 0, loss: await run.trimMetrics(0) }
}

interface Finish {
  run: RunFolder
  trainer: Trainer
  model: NativeModel
  dataset: Dataset
  options: TrainOptions
  config: Config
  learned: Learned
  reading: ReadOptions
}

/** Tests the prompts, then writes the bundle with its figures, then result.json: a run that has one is finished. */
async function finish({ run, trainer, model, dataset, options, config, learned, reading }: Finish): Promise<RunResult> {
  const {
    method: _method,
    name,
    n_ctx: _n,
    ctx_init: _i,
    csc: _c,
    class_token_position: _p,
    data: _d,
    model: _m,
    skip_bad: _s,
    allow_fewer: _a,
    ...training
  } = options
  const metadata = {
    name,
    model_id: config.model.id,
    training: { ...training, dataset: dataset.name, fingerprint: config.data.fingerprint, version: VERSION },
  }
  const metrics = await test(model, await trainer.bundle({ ...metadata, metrics: {} }), dataset, options, reading)
  const bundle = await trainer.bundle({ ...metadata, metrics: { ...metrics } })
  const path = run.file('bundle.safetensors')
  await writeDurably(path, bundle)
  const result: RunResult = {
    run: run.path,
    bundle: { path, sha256: sha256(bundle), name },
    metrics,
    h: harmonic(metrics) ?? null,
    loss: learned.loss,
    steps: learned.steps,
    seconds: learned.seconds,
    images_per_second: learned.seconds > 0 ? learned.images / learned.seconds : 0,
  }
  await run.writeJson('result.json', result)
  return result
}

/** Accuracy on the test split: of the classes that were trained, and after base classes of the new ones too. */
async function test(
  model: EngineModel,
  bundle: Uint8Array,
  dataset: Dataset,
  options: TrainOptions,
  reading: ReadOptions,
): Promise<Record<string, Figures>> {
  const metrics: Record<string, Figures> = {}
  if (dataset.test.length === 0) {
    reading.terminal.warn(`${dataset.name} has no test images: the prompts were not tested`)
    return metrics
  }
  // Class-specific context knows no new classes.
  const halves: Classes[] = options.classes === 'base' && !options.csc ? ['base', 'new'] : [options.classes]
  for (const classes of halves) {
    const data = await embedAll(model, await selectSplit(dataset, 'test', classes), reading)
    metrics[classes] = figures(await evaluateBundle(model, bundle, data, reading))
  }
  return metrics
}

/** The stored config, after a check that the flags given now say nothing else. */
async function readConfig(
  run: RunFolder,
  flags: TrainFlags,
  given: ReadonlySet<string>,
): Promise<Config & { options: TrainOptions }> {
  const parsed = Config.safeParse(await run.readJson('config.json'))
  if (!parsed.success) throw new TrainError('bad_checkpoint', `${run.file('config.json')} is not the config of a run`)
  const stored = parsed.data.options
  for (const key of given) {
    if (key === 'out' || key === 'resume') continue
    const now = flags[key as keyof TrainFlags]
    if (stored[key] === now) continue
    const message = `--${key.replaceAll('_', '-')} is ${JSON.stringify(now)}, the run was started with ${JSON.stringify(stored[key])}`
    throw new TrainError(
      'usage',
      message,
      '--resume goes on with the options that the run was started with; leave the others out.',
    )
  }
  return { ...parsed.data, options: stored as unknown as TrainOptions }
}

/** Other images or another model would silently give other prompts. */
function compare(run: RunFolder, stored: Config, now: Config, { terminal }: Context): void {
  if (stored.data.fingerprint !== now.data.fingerprint) {
    throw new TrainError(
      'bad_data',
      `the images of ${now.data.name} are not those that ${run.path} was started with`,
      'Restore them, or start a new run.',
    )
  }
  if (stored.model.sha256 !== now.model.sha256) {
    throw new TrainError('model_mismatch', `the model ${now.model.id} is not the one that ${run.path} was started with`)
  }
  if (stored.version !== now.version) {
    terminal.warn(
      `the run was started by version ${stored.version}, this is ${now.version}: the result may differ in the last bits`,
    )
  }
}

function requireData({ data }: TrainFlags): string {
  if (data === undefined)
    throw new TrainError('usage', '--data is missing', '`cocoop-train dataset list` names the data sets.')
  return data
}

function defaultFolder({ method, shots, classes, seed }: TrainFlags, dataset: string): string {
  return join('runs', dataset, `${method}-${shots}shots-${classes}-seed${seed}`)
}

function resumeHint(run: RunFolder): string {
  return `Go on with: cocoop-train train --resume --out ${run.path}`
}
