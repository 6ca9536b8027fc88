/** Makes jobs of options: everything that can be refused is refused here, before anything slow begins. */
import { existsSync } from 'node:fs'
import { resolve as resolvePath } from 'node:path'
import { nativeEngine } from 'cocoop/node'
import type { Dataset } from '../datasets/dataset.ts'
import { type OpenOptions, openDataset } from '../datasets/open.ts'
import { TrainError } from '../errors.ts'
import { type Flag, flagsOf, nearest } from '../flags.ts'
import { LOGS } from '../logs/flags.ts'
import { locateModel } from '../models.ts'
import { sources } from '../presets/sources.ts'
import { isBound, resolve, TRAIN, type TrainFlags, testedClasses } from '../runs/options.ts'
import { type Classes, selectClasses } from '../select.ts'
import { type Job, jobName, type Options, type Test } from './job.ts'

/** What names one run, and where things lie: no axis of a grid. */
const NOT_AN_OPTION = ['name', 'out', 'resume', 'cache', 'root']

/** How a run is told of: no part of a job's name, as the run is the same. */
const TELLING = ['report', ...Object.keys(LOGS)]

/** The options of a run that a grid may vary, as flags. */
export const OPTIONS: readonly Flag[] = flagsOf(TRAIN).filter(({ key }) => !NOT_AN_OPTION.includes(key))

/** Options that a method does not look at: they make no other job of it. */
const PROMPT = ['n_ctx', 'ctx_init', 'csc', 'class_token_position', 'meta_net_reduction']
const LEARNING = ['epochs', 'batch_size', 'lr', 'momentum', 'weight_decay', 'warmup_epochs', 'warmup_lr']
const IGNORED: Record<TrainFlags['method'], readonly string[]> = {
  'zero-shot': ['preset', 'shots', 'seed', 'allow_fewer', 'probe_c', 'augment', 'views', ...PROMPT, ...LEARNING],
  'linear-probe': ['preset', 'templates', 'augment', 'views', ...PROMPT, ...LEARNING],
  coop: ['templates', 'probe_c', 'meta_net_reduction'],
  cocoop: ['templates', 'probe_c'],
}

/** A test as it is asked for; without `data` the set that the run learns from. */
export interface WantedTest {
  data?: string | undefined
  classes: Classes
}

/** Where data sets are found, and who is told of it. */
export type DataPlace = Pick<OpenOptions, 'root' | 'terminal'>

/** Makes jobs; what it opened once it keeps. */
export class Planner {
  readonly #countTokens: (text: string) => number
  readonly #data: DataPlace
  readonly #opened = new Map<string, Promise<{ data: string; dataset: string; set: Dataset }>>()

  private constructor(countTokens: (text: string) => number, data: DataPlace) {
    this.#countTokens = countTokens
    this.#data = data
  }

  static async create(data: DataPlace = {}): Promise<Planner> {
    const engine = await nativeEngine()
    return new Planner((text) => engine.tokenize(text).length, data)
  }

  /** The name of the data set that `target` names. */
  async dataset(target: string): Promise<string> {
    return (await this.#open(target)).dataset
  }

  /** How many classes it has, or one half of it. */
  async classCount(target: string, classes: Classes): Promise<number> {
    return (await selectClasses((await this.#open(target)).set, classes)).length
  }

  /**
   * The job of one point of a grid, with what the run tests by itself (its own classes, and after base the new ones) and `more` tests.
   * @throws TrainError `usage` for options that exclude each other; `not_found` for data or a model that is not there
   */
  async job(options: Options, more: readonly WantedTest[] = []): Promise<Job> {
    const method = options.method ?? named(options).method ?? 'cocoop'
    const ignored = IGNORED[method]
    const asked = without({ ...options, method }, ignored)
    const { data: target, ...given }: Options = { ...named(asked), ...asked }
    if (target === undefined) throw new TrainError('usage', '--data is missing')
    if (given.model !== undefined) given.model = await canonicalModel(given.model)
    const { data, dataset, set } = await this.#open(target)
    const all = TRAIN.parse({ ...given, data, method })
    const core = without({ shots: all.shots, classes: all.classes, seed: all.seed }, ignored)
    const resolved = without(this.#resolve(all, dataset), TELLING)
    const defaults = this.#resolve(TRAIN.parse({ ...core, data, method }), dataset)
    const other = Object.entries(resolved).filter(([key, value]) => {
      return JSON.stringify(value) !== JSON.stringify(defaults[key as keyof typeof defaults])
    })
    const said: Options = { data, method, ...core, ...Object.fromEntries(other) }
    const own: WantedTest[] = set.test.length === 0 ? [] : testedClasses(all).map((classes) => ({ classes }))
    const classnames = isBound(all) ? await this.#classnames(target, all.classes) : undefined
    return {
      name: jobName(dataset, said),
      options: { ...said, ...only(given, TELLING), ...this.#root() },
      tests: await this.#tests([...own, ...more], target, classnames),
      epochs: ignored.includes('epochs') ? 0 : resolved.epochs,
    }
  }

  /** @param bound class names that a run is bound to: tests of others are left out */
  async #tests(wanted: readonly WantedTest[], own: string, bound: string | undefined): Promise<Test[]> {
    const tests: Test[] = []
    for (const { data: target = own, classes } of wanted) {
      const { data, dataset } = await this.#open(target)
      if (bound !== undefined && (await this.#classnames(target, classes)) !== bound) continue
      const twin = tests.find((test) => test.dataset === dataset && test.classes === classes)
      if (twin === undefined) tests.push({ data, dataset, classes })
      else if (twin.data !== data) {
        throw new TrainError(
          'usage',
          `${twin.data} and ${data} are both called ${dataset}`,
          'Rename one of the folders.',
        )
      }
    }
    return tests
  }

  async #classnames(target: string, classes: Classes): Promise<string> {
    return (await selectClasses((await this.#open(target)).set, classes)).join('\n')
  }

  /** It is no part of a job's name: the images are what counts, not where they lie. */
  #root(): Pick<Options, 'root'> {
    return this.#data.root === undefined ? {} : { root: resolvePath(this.#data.root) }
  }

  #resolve(flags: TrainFlags, dataset: string) {
    return resolve(flags, dataset, this.#countTokens)
  }

  #open(target: string) {
    const known = this.#opened.get(target)
    if (known !== undefined) return known
    const opened = openDataset(target, this.#data).then((set) => {
      // A path holds wherever the job is run; a name is one everywhere.
      const data = target !== set.name && existsSync(target) ? resolvePath(target) : target
      return { data, dataset: set.name, set }
    })
    this.#opened.set(target, opened)
    return opened
  }
}

/**
 * The value of an option out of text or JSON.
 * @throws TrainError `usage` with what was expected
 */
export function parseOption(key: string, value: unknown, where: string): unknown {
  const option = OPTIONS.find((option) => option.key === key)
  if (option === undefined) {
    const near = nearest(
      key,
      OPTIONS.map(({ key }) => key),
    )
    throw new TrainError('usage', `${where}: there is no option "${key}"`, near && `Did you mean "${near}"?`)
  }
  const { kind, schema } = option
  let typed = value
  if (kind === 'number' && typeof value === 'string' && value.trim() !== '') typed = Number(value)
  if (kind === 'boolean' && (value === 'true' || value === 'false')) typed = value === 'true'
  if (kind === 'strings' && typeof value === 'string') typed = [value]
  if ((kind === 'string' || kind === 'strings') && typeof value === 'number') typed = String(value)
  const parsed = schema.safeParse(typed)
  if (parsed.success) return parsed.data
  const message = parsed.error.issues[0]?.message.replace(/^Invalid (input|option): /, '') ?? 'does not fit'
  throw new TrainError('usage', `${where}: ${key}: ${message}, got ${JSON.stringify(value)}`)
}

/** What a preset says, where there is one. */
function named(asked: Options): Options {
  return asked.preset === undefined ? {} : (sources(asked, [], []).below as Options)
}

function without<T extends object>(object: T, keys: readonly string[]): T {
  return Object.fromEntries(Object.entries(object).filter(([key, v]) => v !== undefined && !keys.includes(key))) as T
}

function only<T extends object>(object: T, keys: readonly string[]): T {
  return Object.fromEntries(Object.entries(object).filter(([key]) => keys.includes(key))) as T
}

/** As data: a name, or a path that holds wherever the job is run. */
async function canonicalModel(model: string): Promise<string> {
  await locateModel(model)
  return existsSync(model) ? resolvePath(model) : model
}
