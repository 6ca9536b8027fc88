/**
 * The log in the original's lines and order, so that its scripts read log.txt: parse_test_res.py takes "* accuracy" after "Finish training".
 * What has no counterpart here is left out; views are made before or within the step, so the time for data is 0.
 */
import { cpus, platform, release } from 'node:os'
import type { Progress, TrainPlan } from 'cocoop/node'
import type { Figures } from '../evaluate.ts'
import { backboneOf } from '../presets/backbones.ts'
import { dump, originalConfig, TRAINERS } from '../presets/dump.ts'
import type { TrainOptions } from '../runs/options.ts'
import type { Terminal } from '../terminal.ts'
import { VERSION } from '../version.ts'
import type { Beginning, RunLog } from './run-log.ts'
import { lrAt } from './schedule.ts'

/** A batch's value and the epoch's mean so far, as the original's AverageMeter. */
class Average {
  value = 0
  #sum = 0
  #count = 0

  update(value: number): void {
    this.value = value
    this.#sum += value
    this.#count += 1
  }

  text(digits: number): string {
    return `${this.value.toFixed(digits)} (${(this.mean).toFixed(digits)})`
  }

  get mean(): number {
    return this.#count === 0 ? 0 : this.#sum / this.#count
  }
}

export class DasslLog implements RunLog {
  readonly #terminal: Terminal
  readonly #options: TrainOptions
  readonly #now: () => number
  #plan: TrainPlan | undefined
  #meters = freshMeters()
  #last = 0
  #began = 0
  #path = ''
  #done = false

  constructor(options: TrainOptions, terminal: Terminal, now: () => number = () => performance.now()) {
    this.#options = options
    this.#terminal = terminal
    this.#now = now
  }

  begin({ run, options, dataset, data, model, config }: Beginning): void {
    const backbone = backboneOf(model.info) ?? config.model.id
    this.#began = this.#now()
    this.#say(`Setting fixed seed: ${options.seed}`)
    this.#say(...boxed('Arguments'))
    for (const [key, value] of Object.entries(options).sort()) this.#say(`${key}: ${shown(value)}`)
    this.#say(
      ...boxed('Config'),
      ...dump(originalConfig(options, { folder: run.path, dataset: dataset.name, backbone, info: model.info })),
    )
    this.#say('Collecting env info ...', '** System info **', ...system(), '')
    this.#say(`Loading trainer: ${TRAINERS[options.method]}`, `Loading dataset: ${dataset.name}`)
    if (options.shots > 0 && options.method !== 'zero-shot') this.#say(`Creating a ${options.shots}-shot dataset`)
    if (options.classes !== 'all') this.#say(`SUBSAMPLE ${options.classes.toUpperCase()} CLASSES!`)
    this.#say(...transforms(options, model.info.image_size))
    const test = dataset.test.filter(({ classname }) => data.classnames.includes(classname)).length
    this.#say(
      ...tabulate([
        ['Dataset', dataset.name],
        ['# classes', count(data.classnames.length)],
        ['# train_x', count(data.items.length)],
        ['# test', count(test)],
      ]),
    )
    this.#say(`Loading CLIP (backbone: ${backbone})`)
    if (options.method !== 'coop' && options.method !== 'cocoop') return
    this.#say('Building custom CLIP')
    if (options.ctx_init === '') this.#say(`Initializing a ${options.csc ? 'class-specific' : 'generic'} context`)
    const words = options.ctx_init || Array.from({ length: options.n_ctx }, () => 'X').join(' ')
    this.#say(`Initial context: "${words}"`, `Number of context words (tokens): ${options.n_ctx}`)
    this.#say('Turning off gradients in both the image and the text encoder')
    if (options.method === 'cocoop') this.#say(`Parameters to be updated: {${LEARNED.join(', ')}}`)
  }

  start(plan: TrainPlan, step: number): void {
    this.#plan = plan
    this.#last = this.#now()
    if (step === 0) this.#say('No checkpoint found, train from scratch')
    else this.#say(`Found checkpoint after batch ${step} of ${plan.epochs * plan.batches} (will resume training)`)
  }

  batch({ epoch, batch, loss, lr, correct, images }: Progress): void {
    const { epochs, batches } = this.#plan ?? { epochs: 0, batches: 0 }
    if (batch === 1) this.#meters = freshMeters()
    const { time, losses, acc } = this.#meters
    time.update((this.#now() - this.#last) / 1000)
    this.#last = this.#now()
    losses.update(loss)
    acc.update((100 * correct) / images)
    const every = this.#options.print_freq
    if (batch % every !== 0 && batches >= every) return
    // The original steps its schedule before it prints, so an epoch's last line shows the next epoch's rate.
    const rate = batch === batches ? lrAt(this.#options, epoch) : lr
    const left = batches - batch + (epochs - epoch) * batches
    const parts = [
      `epoch [${epoch}/${epochs}]`,
      `batch [${batch}/${batches}]`,
      `time ${time.text(3)}`,
      'data 0.000 (0.000)',
      `loss ${losses.text(4)}`,
      ...(this.#options.method === 'cocoop' ? [] : [`acc ${acc.text(4)}`]),
      `lr ${exponential(rate)}`,
      `eta ${timedelta(time.mean * left)}`,
    ]
    this.#say(parts.join(' '))
  }

  epoch(): void {}

  saved(path: string): void {
    this.#path = path
  }

  learned(): void {
    this.#done = true
    if (this.#path !== '') this.#say(`Checkpoint saved to ${this.#path}`)
    this.#say('Finish training', 'Deploy the last-epoch model')
  }

  tested(classes: string, { total, correct, accuracy, macro_f1 }: Figures, own: boolean): void {
    this.#done = true
    if (!own) {
      // Not in the form of a result: the original's script would take it for the run's own.
      this.#say(
        `Evaluated on the *test* set of the ${classes} classes: ${count(total)} images, ${accuracy.toFixed(1)}%`,
      )
      return
    }
    this.#say(
      'Evaluate on the *test* set',
      '=> result',
      `* total: ${count(total)}`,
      `* correct: ${count(correct)}`,
      `* accuracy: ${accuracy.toFixed(1)}%`,
      `* error: ${(100 - accuracy).toFixed(1)}%`,
      `* macro_f1: ${macro_f1.toFixed(1)}%`,
    )
  }

  end(): void {
    if (this.#done) this.#say(`Elapsed: ${timedelta(Math.round((this.#now() - this.#began) / 1000))}`)
  }

  #say(...lines: string[]): void {
    for (const line of lines) this.#terminal.log(line)
  }
}

const LEARNED = [
  "'prompt_learner.ctx'",
  ...['linear1', 'linear2'].flatMap((layer) =>
    ['weight', 'bias'].map((part) => `'prompt_learner.meta_net.${layer}.${part}'`),
  ),
]

function freshMeters() {
  return { time: new Average(), losses: new Average(), acc: new Average() }
}

function boxed(title: string): string[] {
  const line = '*'.repeat(title.length + 6)
  return [line, `** ${title} **`, line]
}

function system(): string[] {
  const [cpu] = cpus()
  return [
    `cocoop-train ${VERSION}`,
    `Node.js ${process.version}`,
    `OS: ${platform()} ${release()}`,
    `CPU: ${cpus().length} x ${cpu?.model ?? 'unknown'}`,
  ]
}

function transforms({ augment, method }: TrainOptions, size: number): string[] {
  const learning = method === 'coop' || method === 'cocoop'
  const whole = [`+ resize the smaller edge to ${size}`, `+ ${size}x${size} center crop`]
  const crop = [`+ random resized crop (size=(${size}, ${size}), scale=(0.08, 1.0))`, '+ random flip']
  const rest = ['+ to torch tensor of range [0, 1]', '+ normalization']
  const train = learning && augment === 'crop-flip' ? crop : whole
  return ['Building transform_train', ...train, ...rest, 'Building transform_test', ...whole, ...rest]
}

function tabulate(rows: readonly (readonly [string, string])[]): string[] {
  const widths = [0, 1].map((i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  const line = widths.map((width) => '-'.repeat(width)).join('  ')
  return [line, ...rows.map(([name, value]) => `${name.padEnd(widths[0] ?? 0)}  ${value}`), line]
}

function count(value: number): string {
  return value.toLocaleString('en-US')
}

function shown(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? 'None')
}

/** Python's `%.4e`: two digits of exponent at least. */
function exponential(value: number): string {
  return value.toExponential(4).replace(/e([+-])(\d)$/, 'e$10$2')
}

/** As Python prints a timedelta of whole seconds. */
function timedelta(seconds: number): string {
  const whole = Math.trunc(seconds)
  const [days, rest] = [Math.floor(whole / 86_400), whole % 86_400]
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0')
  const clock = `${Math.floor(rest / 3600)}:${two((rest % 3600) / 60)}:${two(rest % 60)}`
  return days === 0 ? clock : `${days} day${days === 1 ? '' : 's'}, ${clock}`
}
