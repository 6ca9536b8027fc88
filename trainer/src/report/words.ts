/** How a report says things. */
import type { Interval } from './intervals.ts'

export const METHODS: Record<string, string> = {
  'zero-shot': 'Zero-shot CLIP',
  'linear-probe': 'Linear probe',
  coop: 'CoOp',
  cocoop: 'CoCoOp',
}

/** `83.9 %`. */
export function percent({ value }: Pick<Interval, 'value'>): string {
  return Number.isNaN(value) ? '–' : `${value.toFixed(1)} %`
}

/** `80.1 to 87.0`. */
export function range({ low, high }: Interval): string {
  return `${low.toFixed(1)} to ${high.toFixed(1)}`
}

/** A test's classes, and its data set where there are several. */
export function testName(
  { data, classes }: { data: string; classes: string },
  tests: readonly { data: string }[],
): string {
  const which = classes === 'H' ? 'H' : `${classes} classes`
  return tests.every((test) => test.data === data) ? which : `${data}, ${which}`
}
