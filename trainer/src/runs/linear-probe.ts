/**
 * The linear probe as a method of a run: logistic regression on the features of whole pictures as they leave the tower, with the
 * strength of its regularisation searched on the validation images as CoOp's lpclip does.
 */
import { fitLinearProbe } from 'cocoop/node'
import { TrainError } from '../errors.ts'
import { imageFeatures } from '../image-features.ts'
import { selectValidation } from '../select.ts'
import { type Method, provenance } from './method.ts'
import { probePredictor } from './predictor.ts'
import { formatProbe, type Probe } from './probe-file.ts'

/** lpclip's grid, and the number of halvings around its best. */
const GRID = [1e6, 1e4, 1e2, 1, 1e-2, 1e-4, 1e-6]
const HALVINGS = 8
const MAX_ITERATIONS = 1000

export const linearProbe: Method = async (work) => {
  const { dataset, options, data, context, reading, config } = work
  const started = performance.now()
  const train = await imageFeatures(work, data, reading, false)
  const { terminal } = context
  const labels = Uint32Array.from(train.labels)
  const about = { classnames: data.classnames, model: config.model, training: provenance(work), metrics: {} }
  let fits = 0
  const fit = async (c: number): Promise<Probe> => {
    const problem = { features: train.features, labels, n_cls: data.classnames.length, c, max_iter: MAX_ITERATIONS }
    const { weight, bias, converged } = await fitLinearProbe(problem, context)
    fits += 1
    if (!converged) terminal.log(`C = ${c.toExponential(2)}: not converged in ${MAX_ITERATIONS} iterations`)
    return { ...about, c, weight, bias }
  }
  const probe = options.probe_c === undefined ? await searched() : await fit(options.probe_c)
  terminal.log(`linear probe with C = ${probe.c.toExponential(2)}, of ${fits} fits`)
  return {
    effort: { loss: Number.NaN, steps: fits, seconds: (performance.now() - started) / 1000, images: 0 },
    predictor: probePredictor(probe),
    artifact: async (metrics) => ({ name: 'probe.safetensors', bytes: formatProbe({ ...probe, metrics }) }),
  }

  async function searched(): Promise<Probe> {
    const chosen = await selectValidation(dataset, options)
    if (chosen.items.length === 0) {
      const message = `the data set ${dataset.name} has no validation images to choose C by`
      throw new TrainError('bad_data', message, 'Give a C by --probe-c, or a data set with a val split.')
    }
    const val = await imageFeatures(work, chosen, reading, false)
    return await searchC(async (c) => {
      const probe = await fit(c)
      terminal.status(`linear probe: ${fits} of ${GRID.length + HALVINGS + 1} fits`)
      const { score } = await probePredictor(probe).test(val)
      return { probe, accuracy: score.accuracy, c }
    })
  }
}

interface Tried {
  c: number
  accuracy: number
  probe: Probe
}

/**
 * lpclip's search: the best of the grid (of equals the largest C), then halvings in log10 between a tenth and ten times of it; the better
 * end stays (of equals the left one), and the last that was better is what counts.
 */
export async function searchC(attempt: (c: number) => Promise<Tried>): Promise<Probe> {
  let peak: Tried | undefined
  for (const c of GRID) {
    const tried = await attempt(c)
    if (peak === undefined || tried.accuracy > peak.accuracy) peak = tried
  }
  const center = peak?.c ?? 1
  let [left, right] = [await attempt(center / 10), await attempt(center * 10)]
  for (let step = 1; step < HALVINGS; step++) {
    const middle = await attempt(10 ** ((Math.log10(left.c) + Math.log10(right.c)) / 2))
    if (left.accuracy < right.accuracy) left = middle
    else right = middle
  }
  return (left.accuracy < right.accuracy ? right : left).probe
}
