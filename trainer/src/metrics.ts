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
