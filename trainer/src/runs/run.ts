/**
 * One training run from its flags to its bundle. Whatever stops it, --resume goes on to the same final bits:
 * the engine's state is saved at each epoch's end and on Ctrl-C, and all else follows from config.json and the data.
 */
import { join } from 'node:path'
import { type EngineModel, type NativeModel, nativeEngine, type Trainer } from 'cocoop/node'
import type { Context } from '../command.ts'
import type { Dataset } from '../datasets/dataset.ts'
import { openDataset } from '../datasets/open.ts'
import { codeOf, TrainError } from '../errors.ts'
import { evaluateBundle, type Figures, figures, harmonic } from '../evaluate.ts'
import { readJson, sha256, writeDurably } from '../files.ts'
import { embedAll, type ReadOptions, readAll } from '../images.ts'
import { openModel } from '../models.ts'
import { type Classes, fingerprint, selectShots, selectSplit } from '../select.ts'
import { VERSION } from '../version.ts'
import { type Config, compare, readConfig } from './config.ts'
import { RunFolder } from './folder.ts'
import { type Learned, learn, resumeHint } from './learn.ts'
import { resolve, type TrainFlags, type TrainOptions, trainSpec } from './options.ts'

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

/** A finished run's result, or `undefined`. */
export async function finishedRun(folder: string): Promise<RunResult | undefined> {
  return (await readJson(join(folder, 'result.json'))) as RunResult | undefined
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
    const opened = await openModel(engine, options.model, { signal })
    using model = opened.model
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
      model: { id: opened.id, sha256: model.info.sha256 },
    }
    if (stored === undefined) await run.writeJson('config.json', config)
    else compare(run, stored, config, context)
    terminal.log(
      `${options.method} on ${dataset.name}: ${data.classnames.length} ${options.classes === 'all' ? '' : `${options.classes} `}classes, ${data.items.length} images, model ${opened.id}, run ${folder}`,
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

function requireData({ data }: TrainFlags): string {
  if (data === undefined)
    throw new TrainError('usage', '--data is missing', '`cocoop-train dataset list` names the data sets.')
  return data
}

function defaultFolder({ method, shots, classes, seed }: TrainFlags, dataset: string): string {
  return join('runs', dataset, `${method}-${shots}shots-${classes}-seed${seed}`)
}
