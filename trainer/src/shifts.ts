/** How a Meta-Net moves a prompt over a set of images: how far each image moves it, and how much of that all images share. */

/** The shifts of a set of images. Lengths are relative to the mean length of the learned vectors. */
export interface ShiftReport {
  /** Mean length of the learned vectors. */
  ctx_length: number
  /** Mean over the images. */
  mean: number
  /** The length of the mean shift. */
  common: number
  /** The mean shift's part of the mean square: 1 if all images move the prompt alike, 0 if they cancel out. */
  common_share: number
  /** Of what is not common, the part that is between the classes' means. */
  class_share: number
  /** Of each image, in their order. */
  images: number[]
  per_class: {
    classname: string
    images: number
    /** Mean over its images. */
    mean: number
    /** How far the class's mean shift is from that of all. */
    apart: number
    /** (dim), as it is added to the vectors. */
    mean_shift: number[]
  }[]
}

/**
 * Sums up `shift` (n, dim) over the vectors `ctx` (n_ctx, dim).
 * @param labels of the images, positions in `classnames`; empty where they have none
 */
export function reportShifts(
  ctx: Float32Array,
  dim: number,
  shift: Float32Array,
  labels: readonly number[],
  classnames: readonly string[],
): ShiftReport {
  const [vectors, rows] = [rowsOf(ctx, dim), rowsOf(shift, dim)]
  const ctx_length = mean(vectors.map(length))
  const relative = (row: ArrayLike<number>) => length(row) / ctx_length
  const all = meanOf(rows, dim)
  const squares = mean(rows.map((row) => length(row) ** 2))
  const spread = mean(rows.map((row) => length(less(row, all)) ** 2))
  const classes = classnames.map((classname, label) => {
    const own = rows.filter((_, i) => labels[i] === label)
    return { classname, own, mean_shift: meanOf(own, dim) }
  })
  const known = classes.filter(({ own }) => own.length > 0)
  const between = known.map(({ own, mean_shift }) => own.length * length(less(mean_shift, all)) ** 2)
  const images = rows.map(relative)
  return {
    ctx_length,
    mean: mean(images),
    common: relative(all),
    common_share: share(length(all) ** 2, squares),
    class_share: share(between.reduce((sum, x) => sum + x, 0) / rows.length, spread),
    images,
    per_class: known.map(({ classname, own, mean_shift }) => ({
      classname,
      images: own.length,
      mean: mean(own.map(relative)),
      apart: relative(less(mean_shift, all)),
      mean_shift,
    })),
  }
}

/** The vectors (n_ctx, dim) with `shift` (dim) added to each. */
export function shifted(ctx: Float32Array, shift: Float32Array): Float32Array {
  return ctx.map((x, i) => x + (shift[i % shift.length] ?? 0))
}

/** The rows of a matrix (n, dim). */
export function rowsOf(matrix: Float32Array, dim: number): Float32Array[] {
  return Array.from({ length: matrix.length / dim }, (_, i) => matrix.subarray(i * dim, (i + 1) * dim))
}

function meanOf(rows: readonly Float32Array[], dim: number): number[] {
  const sums = new Array<number>(dim).fill(0)
  for (const row of rows) for (const [i, x] of row.entries()) sums[i] = (sums[i] ?? 0) + x
  return sums.map((sum) => sum / rows.length)
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, x) => sum + x, 0) / values.length
}

function length(row: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < row.length; i++) sum += (row[i] ?? 0) ** 2
  return Math.sqrt(sum)
}

function less(a: ArrayLike<number>, b: readonly number[]): number[] {
  return b.map((x, i) => (a[i] ?? 0) - x)
}

/** 0 of nothing. */
function share(part: number, whole: number): number {
  return whole > 0 ? part / whole : 0
}
