/** Thousands of steps as a few hundred points that hide nothing: the range of what each stands for, and a running mean. */

/** `low` to `high` is what was measured between the point before and this one. */
export interface Point {
  step: number
  low: number
  high: number
  /** The running mean up to here. */
  smooth: number
}

/**
 * At most `points` points. A value that is no number breaks no mean; it is counted in `missing`.
 * @param steps ascending
 */
export function summarise(
  steps: readonly number[],
  values: readonly number[],
  points: number,
): { points: Point[]; perPoint: number; missing: number } {
  const perPoint = Math.max(1, Math.ceil(values.length / points))
  const share = Math.min(1, 50 / values.length) // reaches back over a fiftieth of the run
  const out: Point[] = []
  let [sum, weight, missing] = [0, 0, 0]
  for (let start = 0; start < values.length; start += perPoint) {
    let [low, high, step] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0]
    for (let i = start; i < Math.min(values.length, start + perPoint); i++) {
      const value = values[i] ?? Number.NaN
      step = steps[i] ?? 0
      if (!Number.isFinite(value)) {
        missing += 1
        continue
      }
      low = Math.min(low, value)
      high = Math.max(high, value)
      sum += share * (value - sum)
      weight += share * (1 - weight) // without it the mean would begin at 0
    }
    if (low <= high) out.push({ step, low, high, smooth: sum / weight })
  }
  return { points: out, perPoint, missing }
}
