/** Tests on images: probabilities, accuracy, macro-F1, calibration error; and a bundle's prompts as what is tested. */
import type { BundleMetadata, EngineModel } from 'cocoop/node'
import type { Context } from './command.ts'
import { TrainError } from './errors.ts'
import type { Embedded } from './images.ts'
import { argmax, calibrationError, harmonicMean, type Score, score } from './metrics.ts'
import { Countdown } from './progress.ts'
import { table } from './table.ts'

/** Images scored at a time: CoCoOp makes prompts for each. */
const BATCH = 32

/** What a test found; `predicted` are indices of the class names of the images that were tested. */
export interface Tested {
  score: Score
  /** Expected calibration error, percent. */
  ece: number
  predicted: number[]
  /** (n, n_cls). */
  probs: Float32Array
  n_cls: number
}

export interface Evaluation extends Tested {
  metadata: BundleMetadata
  /** (n, n_cls). */
  cosines: Float32Array
}

/** The figures of a test that stand in result.json and in a bundle; percent but for the counts. */
export type Figures = Pick<Score, 'total' | 'correct' | 'accuracy' | 'macro_f1'> & { n_cls: number; ece: number }

/** Compares probabilities (n, n_cls) with the images' labels. */
export function testProbabilities(probs: Float32Array, { items, labels, classnames }: Embedded): Tested {
  const n_cls = classnames.length
  const row = (i: number) => probs.subarray(i * n_cls, (i + 1) * n_cls)
  const predicted = items.map((_, i) => argmax(row(i)))
  const confidence = predicted.map((label, i) => row(i)[label] ?? 0)
  const right = predicted.map((label, i) => label === labels[i])
  return {
    score: score(predicted, labels, classnames),
    ece: calibrationError(confidence, right),
    predicted,
    probs,
    n_cls,
  }
}

/**
 * Scores every image with the bundle's prompt over the images' class names, which need not be those that it was trained on.
 * @throws TrainError `class_mismatch` for class-specific prompts on other classes; CocoopError `model_mismatch`, `bad_bundle`.
 */
export async function evaluateBundle(
  model: EngineModel,
  bundle: Uint8Array,
  data: Embedded,
  { terminal, signal }: Pick<Context, 'terminal' | 'signal'>,
): Promise<Evaluation> {
  using own = await model.classifier(bundle, { signal })
  const same = sameNames(own.metadata.classnames, data.classnames)
  if (!same && own.metadata.prompt.csc) {
    const message = `the bundle ${own.metadata.name} has class-specific prompts for ${quote(own.metadata.classnames)}, not for ${quote(data.classnames)}`
    throw new TrainError('class_mismatch', message)
  }
  using classifier = await model.classifier(bundle, { signal, classnames: same ? undefined : data.classnames })
  const [n, n_cls, width] = [data.items.length, data.classnames.length, model.info.embed_dim]
  const [probs, cosines] = [new Float32Array(n * n_cls), new Float32Array(n * n_cls)]
  const countdown = new Countdown(n)
  countdown.line(0)
  for (let start = 0; start < n; start += BATCH) {
    const rows = data.features.subarray(start * width, Math.min(n, start + BATCH) * width)
    const some = await classifier.score(rows, { signal })
    probs.set(some.probs, start * n_cls)
    cosines.set(some.cosines, start * n_cls)
    terminal.status(`testing ${countdown.line(Math.min(n, start + BATCH))}`)
  }
  return { ...testProbabilities(probs, data), metadata: classifier.metadata, cosines }
}

/** What is kept of a test. */
export function figures({ score: { total, correct, accuracy, macro_f1 }, n_cls, ece }: Tested): Figures {
  return { n_cls, total, correct, accuracy, macro_f1, ece }
}

/** One row per set of classes, and the harmonic mean where base and new are both there. */
export function figuresTable(results: Record<string, Figures>): string {
  const rows = Object.entries(results).map(([classes, { n_cls, total, accuracy, macro_f1, ece }]) => [
    classes,
    String(n_cls),
    String(total),
    `${accuracy.toFixed(2)}%`,
    `${macro_f1.toFixed(2)}%`,
    `${ece.toFixed(2)}%`,
  ])
  const h = harmonic(results)
  if (h !== undefined) rows.push(['H', '', '', `${h.toFixed(2)}%`, '', ''])
  return table(['classes', 'n', 'images', 'accuracy', 'macro-F1', 'ECE'], rows)
}

/** H of base and new accuracy. */
export function harmonic({ base, new: fresh }: Record<string, Figures>): number | undefined {
  return base && fresh && harmonicMean(base.accuracy, fresh.accuracy)
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i])
}

function quote(names: readonly string[]): string {
  const shown = names.slice(0, 3).map((name) => `"${name}"`)
  return names.length > 3 ? `${shown.join(', ')} and ${names.length - 3} more` : shown.join(', ')
}
