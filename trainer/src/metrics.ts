/** Accuracy and macro-F1 as Dassl prints them, per class, and the harmonic mean of base and new. */

/** How well a set of predictions fits, in percent. */
export interface Score {
  total: number
  correct: number
  accuracy: number
  /** Mean F1 over the classes that occur among the labels, as scikit-learn's `f1_score(average='macro')` with Dassl's labels. */
  macro_f1: number
  per_class: { classname: string; total: number; correct: number; accuracy: number; f1: number }[]
}

/** Compares predictions with labels; both are indices of `classnames`. */
export function score(predicted: readonly number[], labels: readonly number[], classnames: readonly string[]): Score {
  const rows = classnames.map((classname) => ({ classname, total: 0, correct: 0, predicted: 0 }))
  for (const [i, label] of labels.entries()) {
    const [truth, guess] = [rows[label], rows[predicted[i] ?? -1]]
    if (truth === undefined || guess === undefined)
      throw new RangeError(`label ${label} of ${classnames.length} classes`)
    truth.total += 1
    guess.predicted += 1
    if (truth === guess) truth.correct += 1
  }
  const per_class = rows
    .filter(({ total }) => total > 0)
    .map(({ classname, total, correct, predicted }) => ({
      classname,
      total,
      correct,
      accuracy: (100 * correct) / total,
      f1: (100 * 2 * correct) / (total + predicted),
    }))
  const correct = per_class.reduce((sum, row) => sum + row.correct, 0)
  return {
    total: labels.length,
    correct,
    accuracy: labels.length === 0 ? 0 : (100 * correct) / labels.length,
    macro_f1: per_class.reduce((sum, row) => sum + row.f1, 0) / Math.max(1, per_class.length),
    per_class,
  }
}

/** Bins of the reliability diagram: equal parts of 0 to 1. */
export const CALIBRATION_BINS = 15

/** One bin: how many predictions fell into it, how sure they were in the mean, and how many of them were right. */
export interface CalibrationBin {
  count: number
  confidence: number
  accuracy: number
}

/** The reliability diagram of predictions with their probabilities (Guo et al. 2017, section 2): bins (from, to], shares of 1. */
export function calibration(confidence: readonly number[], right: readonly boolean[]): CalibrationBin[] {
  const bins = Array.from({ length: CALIBRATION_BINS }, () => ({ count: 0, sum: 0, right: 0 }))
  for (const [i, value] of confidence.entries()) {
    const bin = bins[Math.min(CALIBRATION_BINS - 1, Math.max(0, Math.ceil(value * CALIBRATION_BINS) - 1))]
    if (bin === undefined) continue
    bin.count += 1
    bin.sum += value
    bin.right += right[i] === true ? 1 : 0
  }
  return bins.map(({ count, sum, right }) => ({
    count,
    confidence: count === 0 ? 0 : sum / count,
    accuracy: count === 0 ? 0 : right / count,
  }))
}

/** Expected calibration error, percent: the bins' mean distance between confidence and accuracy, weighted by their counts. */
export function calibrationError(confidence: readonly number[], right: readonly boolean[]): number {
  const gaps = calibration(confidence, right).map(
    ({ count, confidence, accuracy }) => count * Math.abs(confidence - accuracy),
  )
  return (100 * gaps.reduce((sum, gap) => sum + gap, 0)) / Math.max(1, confidence.length)
}

/** 2ab / (a + b): high only if both are. CoCoOp, section 4.1. */
export function harmonicMean(base: number, fresh: number): number {
  return base + fresh === 0 ? 0 : (2 * base * fresh) / (base + fresh)
}

/** Position of the largest value; of equals the first, as torch's argmax on CPU. */
export function argmax(row: ArrayLike<number>): number {
  let best = 0
  for (let i = 1; i < row.length; i++) if ((row[i] ?? 0) > (row[best] ?? 0)) best = i
  return best
}
