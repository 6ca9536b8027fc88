/** Which classes are taken for which: counts of a test's images by true and by predicted class. */
import type { Prediction } from '../runs/test.ts'

/** `count` images of class `label` were taken for `predicted`, `back` the other way round; `total` images are of `label`. */
export interface Pair {
  label: number
  predicted: number
  count: number
  back: number
  total: number
}

export class Confusion {
  readonly n_cls: number
  /** Images of each class. */
  readonly totals: number[]
  readonly #counts = new Map<number, number>()

  constructor(images: readonly Prediction[], n_cls: number) {
    this.n_cls = n_cls
    this.totals = new Array<number>(n_cls).fill(0)
    for (const { label, predicted } of images) {
      this.totals[label] = (this.totals[label] ?? 0) + 1
      const key = label * n_cls + predicted
      this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
    }
  }

  count(label: number, predicted: number): number {
    return this.#counts.get(label * this.n_cls + predicted) ?? 0
  }

  /** Every pair of two classes, the most frequent first, of equals the larger share of its class. */
  pairs(): Pair[] {
    const pairs = [...this.#counts].map(([key, count]) => {
      const [label, predicted] = [Math.floor(key / this.n_cls), key % this.n_cls]
      return { label, predicted, count, back: this.count(predicted, label), total: this.totals[label] ?? 0 }
    })
    return pairs
      .filter(({ label, predicted }) => label !== predicted)
      .sort(
        (a, b) =>
          b.count - a.count || b.count / b.total - a.count / a.total || a.label - b.label || a.predicted - b.predicted,
      )
  }

  /**
   * At most `limit` classes: all in their order, or those of the most frequent pairs, such that a class stands beside the one it
   * is taken for.
   */
  block(limit: number): number[] {
    if (this.n_cls <= limit) return this.totals.map((_, label) => label)
    const chosen: number[] = []
    for (const { label, predicted } of this.pairs()) {
      const [a, b] = [chosen.indexOf(label), chosen.indexOf(predicted)]
      if (chosen.length + Number(a < 0) + Number(b < 0) > limit) continue
      if (a < 0 && b < 0) chosen.push(label, predicted)
      else if (a < 0) chosen.splice(b, 0, label)
      else if (b < 0) chosen.splice(a + 1, 0, predicted)
    }
    return chosen
  }
}
