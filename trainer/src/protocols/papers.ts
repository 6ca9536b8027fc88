/** The papers' data sets and published figures (CoOp: Zhou et al. 2022a; CoCoOp: Zhou et al. 2022b), and where their options differ by the data. */

import type { MethodName } from '../runs/options.ts'
import type { Options } from '../sweep/job.ts'
import type { Figure } from './cells.ts'
import type { Table } from './tables.ts'

/** The eleven, in the papers' order. */
export const ELEVEN = [
  'imagenet',
  'caltech101',
  'oxford_pets',
  'stanford_cars',
  'oxford_flowers',
  'food101',
  'fgvc_aircraft',
  'sun397',
  'dtd',
  'eurosat',
  'ucf101',
]

/** ImageNet's shifted variants, in the papers' order. */
export const SHIFTED = ['imagenetv2', 'imagenet_sketch', 'imagenet_a', 'imagenet_r']

/** Sets with a published template. */
export function isPaperSet(name: string): boolean {
  return ELEVEN.includes(name) || SHIFTED.includes(name)
}

/** COOP.md: 50 epochs on ImageNet for every number of shots. */
export function epochsFor(method: MethodName, dataset: string): Pick<Options, 'epochs'> {
  return method === 'coop' && dataset === 'imagenet' ? { epochs: 50 } : {}
}

/** How CoCoOp's paper trains CoOp for its comparisons: four tokens from words (COCOOP.md). */
export function comparedOptions(method: MethodName, dataset: string): Options {
  return { ...(method === 'coop' ? { ctx_init: 'a photo of a' } : {}), ...epochsFor(method, dataset) }
}

/** CoCoOp, Table 1: base / new of CLIP, CoOp, CoCoOp; ViT-B/16, 16 shots, mean of three seeds. */
const BASE_TO_NEW: Record<string, readonly [number, number, number, number, number, number]> = {
  imagenet: [72.43, 68.14, 76.47, 67.88, 75.98, 70.43],
  caltech101: [96.84, 94.0, 98.0, 89.81, 97.96, 93.81],
  oxford_pets: [91.17, 97.26, 93.67, 95.29, 95.2, 97.69],
  stanford_cars: [63.37, 74.89, 78.12, 60.4, 70.49, 73.59],
  oxford_flowers: [72.08, 77.8, 97.6, 59.67, 94.87, 71.75],
  food101: [90.1, 91.22, 88.33, 82.26, 90.7, 91.29],
  fgvc_aircraft: [27.19, 36.29, 40.44, 22.3, 33.41, 23.71],
  sun397: [69.36, 75.35, 80.6, 65.89, 79.74, 76.86],
  dtd: [53.24, 59.9, 79.44, 41.18, 77.01, 56.0],
  eurosat: [56.48, 64.05, 92.19, 54.74, 87.49, 60.04],
  ucf101: [70.53, 77.5, 84.69, 56.05, 82.33, 73.45],
}

/** CoCoOp, Table 2: trained on ImageNet, tested on the eleven in their order; ViT-B/16. */
const CROSS: Record<string, readonly number[]> = {
  coop: [71.51, 93.7, 89.14, 64.51, 68.71, 85.3, 18.47, 64.15, 41.92, 46.39, 66.55],
  cocoop: [71.02, 94.43, 90.14, 65.32, 71.88, 86.06, 22.94, 67.36, 45.73, 45.37, 68.21],
}

/** CoCoOp, Table 3: trained on ImageNet, tested on it and its variants; ViT-B/16. */
const SHIFTS: Record<string, readonly number[]> = {
  'zero-shot': [66.73, 60.83, 46.15, 47.77, 73.96],
  coop: [71.51, 64.2, 47.99, 49.71, 75.21],
  cocoop: [71.02, 64.07, 48.75, 50.63, 76.18],
}

/** Zero-shot CLIP, RN50, on the eleven in their order (CoOp, Figure 3). */
const ZERO_SHOT_RN50 = [58.18, 86.29, 85.77, 55.61, 66.14, 77.31, 17.28, 58.52, 42.32, 37.56, 61.46]

const ORDER = ['zero-shot', 'coop', 'cocoop']

/** Base and new accuracy that the paper gives, if it does. */
export function publishedBaseToNew(dataset: string, method: MethodName): { base: number; new: number } | undefined {
  const [row, at] = [BASE_TO_NEW[dataset], ORDER.indexOf(method)]
  const [base, fresh] = [row?.[2 * at], row?.[2 * at + 1]]
  return base === undefined || fresh === undefined || at < 0 ? undefined : { base, new: fresh }
}

export function publishedCross(method: MethodName, dataset: string): number | undefined {
  return CROSS[method]?.[ELEVEN.indexOf(dataset)]
}

export function publishedShift(method: MethodName, dataset: string): number | undefined {
  return SHIFTS[method]?.[['imagenet', ...SHIFTED].indexOf(dataset)]
}

export function publishedZeroShot(dataset: string): number | undefined {
  return ZERO_SHOT_RN50[ELEVEN.indexOf(dataset)]
}

/** A table of published numbers; none if there is nothing to be put into it. */
export function publishedTable(
  table: Pick<Table, 'title' | 'corner' | 'columns'>,
  rows: readonly { label: string; values: readonly (number | undefined)[] }[],
): Table[] {
  const known = rows.filter(({ values }) => values.some((value) => value !== undefined))
  const figure = (value: number | undefined): Figure | null =>
    value === undefined ? null : { mean: value, std: 0, values: [{ seed: null, value }] }
  if (known.length === 0) return []
  const filled = known.map(({ label, values }) => ({ label, figures: values.map(figure), digits: values.map(() => 2) }))
  return [{ ...table, rows: filled }]
}
