/** Ranges of figures that were measured on a sample of images: Wilson's for shares, and what follows from it for H. */
import { harmonicMean } from '../metrics.ts'

/** 97.5 % of a normal distribution lies below. */
const Z = 1.959963984540054

/** In percent; 95 % of such ranges hold the true value. */
export interface Interval {
  value: number
  low: number
  high: number
}

/** The share of `correct` among `total` (Wilson 1927). Nothing measured: all is possible. */
export function wilson(correct: number, total: number): Interval {
  if (total === 0) return { value: Number.NaN, low: 0, high: 100 }
  const share = correct / total
  const middle = share + (Z * Z) / (2 * total)
  const half = Z * Math.sqrt((share * (1 - share)) / total + (Z / (2 * total)) ** 2)
  const scale = 100 / (1 + (Z * Z) / total)
  return {
    value: 100 * share,
    low: correct === 0 ? 0 : Math.max(0, scale * (middle - half)),
    high: correct === total ? 100 : Math.min(100, scale * (middle + half)),
  }
}

/** H of base and new accuracy: each side's distance to its limit, carried over by the slope of H (MOVER, Zou and Donner 2008). */
export function harmonicInterval(base: Interval, fresh: Interval): Interval {
  const value = harmonicMean(base.value, fresh.value)
  const sum = (base.value + fresh.value) ** 2
  const [slopeBase, slopeFresh] = sum === 0 ? [1, 1] : [(2 * fresh.value ** 2) / sum, (2 * base.value ** 2) / sum]
  const reach = (a: number, b: number) => Math.hypot(slopeBase * a, slopeFresh * b)
  return {
    value,
    low: Math.max(0, value - reach(base.value - base.low, fresh.value - fresh.low)),
    high: Math.min(100, value + reach(base.high - base.value, fresh.high - fresh.value)),
  }
}

/** Mean and population standard deviation, as the originals' script has it. */
export function meanOf(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return { mean, deviation: Math.sqrt(squares / values.length) }
}

/**
 * Two classifiers on the same images: how likely at least so unequal counts are where both are equally good (McNemar's exact test).
 * @param a images that only the first has right
 * @param b images that only the second has right
 */
export function mcNemar(a: number, b: number): number {
  const n = a + b
  let term = -n * Math.LN2 // log of C(n, k) / 2^n
  let tail = 0
  for (let k = 0; k <= Math.min(a, b); k++) {
    tail += Math.exp(term)
    term += Math.log(n - k) - Math.log(k + 1)
  }
  return Math.min(1, 2 * tail)
}
