/** Cells of a table: which runs they need, and the figure that these make. A cell whose runs are not all there has none. */
import { harmonicMean } from '../metrics.ts'
import type { Classes } from '../select.ts'
import type { Job } from '../sweep/job.ts'

/** A number over seeds. */
export interface Figure {
  mean: number
  /** Population standard deviation, as CoOp's parse_test_res.py has it. */
  std: number
  /** In the order of the seeds; a run without one has `null`. */
  values: { seed: number | null; value: number }[]
  /** For H: the mean of the seeds' own H, which is not the H of the means. */
  mean_of_h?: number
}

/** Accuracy, percent, of a job on a test, if it is there. */
export type Read = (job: Job, dataset: string, classes: Classes) => number | undefined

export interface Cell {
  jobs: readonly Job[]
  digits: number
  figure: (read: Read) => Figure | undefined
}

/** The accuracy of runs that differ by their seeds. */
export function accuracy(jobs: readonly Job[], dataset: string, classes: Classes): Cell {
  const figure = (read: Read) => {
    const values = jobs.map((job) => ({ seed: job.options.seed ?? null, value: read(job, dataset, classes) }))
    return values.every(isKnown) && values.length > 0 ? figureOf(values) : undefined
  }
  return { jobs, digits: 2, figure }
}

/** H of base and new as the papers have it: of the averages over the seeds. */
export function harmonic(base: Cell, fresh: Cell): Cell {
  const figure = (read: Read) => {
    const [a, b] = [base.figure(read), fresh.figure(read)]
    if (a === undefined || b === undefined) return undefined
    const values = a.values.flatMap(({ seed, value }) => {
      const twin = b.values.find((other) => other.seed === seed)
      return twin === undefined ? [] : [{ seed, value: harmonicMean(value, twin.value) }]
    })
    const own = figureOf(values)
    return { ...own, mean: harmonicMean(a.mean, b.mean), mean_of_h: own.mean }
  }
  return { jobs: [...base.jobs, ...fresh.jobs], digits: 2, figure }
}

/** The mean over data sets, for each seed that all of them have. */
export function mean(cells: readonly Cell[]): Cell {
  const figure = (read: Read) => {
    const figures = cells.map((cell) => cell.figure(read))
    if (cells.length === 0 || !figures.every((one) => one !== undefined)) return undefined
    const [first] = figures
    const values = (first?.values ?? []).flatMap(({ seed }) => {
      const same = figures.flatMap(({ values }) => values.filter((other) => other.seed === seed))
      return same.length === figures.length ? [{ seed, value: average(same.map(({ value }) => value)) }] : []
    })
    return { ...figureOf(values), mean: average(figures.map(({ mean }) => mean)) }
  }
  return { jobs: cells.flatMap(({ jobs }) => jobs), digits: 2, figure }
}

/** What follows from the means of other cells. */
export function derived(cells: readonly Cell[], of: (means: number[]) => number | undefined, digits = 2): Cell {
  const figure = (read: Read) => {
    const means = cells.map((cell) => cell.figure(read)?.mean)
    const value = means.every((one) => one !== undefined) ? of(means as number[]) : undefined
    return value === undefined ? undefined : figureOf([{ seed: null, value }])
  }
  return { jobs: cells.flatMap(({ jobs }) => jobs), digits, figure }
}

/** A number that needs no run. */
export function fixed(value: number, digits = 2): Cell {
  return { jobs: [], digits, figure: () => figureOf([{ seed: null, value }]) }
}

/** A place where no run can stand, such as the new classes of a linear probe. */
export const NOTHING: Cell = { jobs: [], digits: 0, figure: () => undefined }

function figureOf(values: Figure['values']): Figure {
  const middle = average(values.map(({ value }) => value))
  const spread = Math.sqrt(average(values.map(({ value }) => (value - middle) ** 2)))
  return { mean: middle, std: spread, values }
}

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
}

function isKnown(one: {
  seed: number | null
  value: number | undefined
}): one is { seed: number | null; value: number } {
  return one.value !== undefined
}
