/**
 * One run from its flags to its result: images, method, tests, and the file that is served. Whatever stops it, --resume goes on to the
 * same final bits: the engine's state is saved at each epoch's end and on Ctrl-C, and all else follows from config.json and the data.
 */
import { join } from 'node:path'
import { nativeEngine } from 'cocoop/node'
import type { Context } from '../command.ts'
import type { Dataset } from '../datasets/dataset.ts'
import { openDataset } from '../datasets/open.ts'
import { preflight } from '../datasets/preflight.ts'
import type { PromptLength } from '../datasets/problems.ts'
import { needsLearning } from '../distributed/claim.ts'
import type { Leader } from '../distributed/leader.ts'
import { codeOf, TrainError } from '../errors.ts'
import { type Figures, harmonic } from '../evaluate.ts'
import { FeatureCache } from '../feature-cache.ts'
import { sha256, writeDurably } from '../files.ts'
import { type ReadOptions, readAll } from '../images.ts'
import { openLog } from '../logs/open.ts'
import type { RunLog } from '../logs/run-log.ts'
import { openModel } from '../models.ts'
import { checkBackbone } from '../presets/backbones.ts'
import { reportRun } from '../report/report.ts'
import { type Classes, type Selected, selectClasses, selectShots, selectSplit } from '../select.ts'
import { VERSION } from '../version.ts'
import { type Config, compare, dataFacts, readConfig } from './config.ts'
import { RunFolder } from './folder.ts'
import { resumeHint } from './learn.ts'
import { linearProbe } from './linear-probe.ts'
import type { Method, Outcome, Work } from './method.ts'
import { requireData, resolve, type TrainFlags, type TrainOptions, testedClasses } from './options.ts'
import { prompts } from './prompts.ts'
import { finishedRun, type RunResult } from './result.ts'
import { test } from './test.ts'
import { zeroShot } from './zero-shot.ts'

const METHODS: Record<TrainOptions['method'], Method> = {
  'zero-shot': zeroShot,
  'linear-probe': linearProbe,
  coop: prompts,
  cocoop: prompts,
}

/**
 * Does what `flags` say, or goes on with the run that they name; as rank 0 with the others that `leader` knows.
 * @throws TrainError `exists`, `locked`, `not_found`, `cancelled` (with what to type to go on), `no_space`, and the words of bad data.
 */
export async function runTraining(flags: TrainFlags, context: Context, leader?: Leader): Promise<RunResult> {
  const { terminal, signal } = context
  const folder =
    flags.out ?? defaultFolder(flags, (await openDataset(requireData(flags), { root: flags.root, terminal })).name)
  using run = flags.resume ? RunFolder.open(folder) : await RunFolder.create(folder)
  const stored = flags.resume ? await readConfig(run, flags, context.given) : undefined
  const done = await finishedRun(folder)
  if (done !== undefined) {
    terminal.log(`${folder} is finished`)
    return done
  }
  const dassl = (stored?.options.log_style ?? flags.log_style) === 'dassl'
  const untee = terminal.tee((line) => run.log(line, { time: !dassl }))
  let log: RunLog | undefined
  try {
    const engine = await nativeEngine()
    const root = flags.root ?? stored?.options.root
    const dataset = await openDataset(stored?.options.data ?? requireData(flags), { root, terminal })
    const countTokens = (text: string) => engine.tokenize(text).length
    const options = stored?.options ?? resolve(flags, dataset.name, countTokens)
    if (leader !== undefined) needsLearning(options.method)
    const opened = await openModel(engine, options.model, { signal })
    using model = opened.model
    checkBackbone(options, opened.id, model.info)
    const cache = new FeatureCache({ engine, model, enabled: flags.cache, terminal })
    const reading: ReadOptions = { terminal, signal, skipBad: options.skip_bad }
    const data = await trainingImages(dataset, options, async (shots) => {
      const prompt = { n_ctx: options.n_ctx, context_length: model.info.context_length, tokens: countTokens }
      await lookFirst(dataset, options, shots, prompt, context)
      return await readAll(model, shots, reading)
    })
    const config: Config = {
      version: VERSION,
      options,
      data: dataFacts(dataset.name, data),
      model: { id: opened.id, sha256: model.info.sha256 },
      ...(leader === undefined ? {} : { shared: true }),
    }
    log = openLog(options, run, terminal)
    if (stored === undefined) await run.writeJson('config.json', config)
    else compare(run, stored, config, context)
    const work: Work = { run, engine, model, cache, dataset, options, config, data, context, reading, log, leader }
    log.begin(work)
    const result = await finish(work, await METHODS[options.method](work))
    if (flags.report) await reportRun(folder, context)
    return result
  } catch (cause) {
    const begun = (await run.readJson('config.json')) !== undefined
    if (codeOf(cause) !== 'cancelled' || cause instanceof TrainError || !begun) throw cause
    throw new TrainError('cancelled', 'stopped; nothing is lost', resumeHint(run), { cause })
  } finally {
    terminal.clear()
    log?.end()
    untee()
  }
}

/** What is learned from. Zero-shot prompts want class names only, so that a set without training images does. */
async function trainingImages(
  dataset: Dataset,
  options: TrainOptions,
  read: (shots: Selected) => Promise<Work['data']>,
): Promise<Work['data']> {
  if (options.method !== 'zero-shot') return await read(await selectShots(dataset, options))
  return { classnames: await selectClasses(dataset, options.classes), items: [], labels: [], images: [] }
}

/** What would spoil the run is said before it costs anything: of the images to learn from and of those to be tested on. */
async function lookFirst(
  dataset: Dataset,
  options: TrainOptions,
  { items, classnames }: Selected,
  prompt: PromptLength,
  context: Context,
): Promise<void> {
  const halves = testedClasses(options)
  const tests = dataset.test.length === 0 ? [] : halves.map((classes) => selectSplit(dataset, 'test', classes))
  const test = (await Promise.all(tests)).flatMap((selected) => selected.items)
  const names = halves.includes('new') ? dataset.classnames : classnames
  const learned = options.method === 'coop' || options.method === 'cocoop'
  const checked = { dataset, train: items, test, classnames: names, skipBad: options.skip_bad }
  await preflight({ ...checked, prompt: learned ? prompt : undefined }, context)
}

/** Tests, then writes the file with its figures, then result.json. */
async function finish(work: Work, { effort, predictor, artifact }: Outcome): Promise<RunResult> {
  const { run, options, log, dataset } = work
  const source = { data: options.data, root: options.root }
  const metrics: Record<string, Figures> = {}
  for (const classes of tested(work)) {
    const figures = await test(run.path, work, predictor, { dataset, source }, classes, work.reading)
    metrics[classes] = figures
    log.tested(classes, figures, classes === options.classes)
  }
  const { name, bytes } = await artifact({ ...metrics })
  const path = run.file(name)
  await writeDurably(path, bytes)
  const { loss, steps, seconds, images } = effort
  const result: RunResult = {
    run: run.path,
    method: options.method,
    [name === 'probe.safetensors' ? 'probe' : 'bundle']: { path, sha256: sha256(bytes), name: options.name },
    metrics,
    h: harmonic(metrics) ?? null,
    loss: Number.isNaN(loss) ? null : loss,
    steps,
    seconds,
    images_per_second: seconds > 0 ? images / seconds : 0,
  }
  await run.writeJson('result.json', result)
  return result
}

/** On which classes a run is tested: after base ones also on the new ones, where what was made can serve other classes at all. */
function tested({ dataset, options, context }: Work): Classes[] {
  if (dataset.test.length === 0) {
    context.terminal.warn(`${dataset.name} has no test images: nothing was tested`)
    return []
  }
  return testedClasses(options)
}

function defaultFolder({ method, shots, classes, seed }: TrainFlags, dataset: string): string {
  return join('runs', dataset, `${method}-${shots}shots-${classes}-seed${seed}`)
}
