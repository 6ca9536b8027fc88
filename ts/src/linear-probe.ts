/** The linear probe over the addon: what a run compares its prompts with. It needs features and no model. */
import type { CallOptions } from './engine.ts'
import { type Addon, nativeCall } from './napi.ts'

/** A linear classifier of features: logits are weight·features + bias. */
export interface LinearProbe {
  /** (n_cls, dim) */
  weight: Float32Array
  /** (n_cls) */
  bias: Float32Array
}

/**
 * C·Σ log-loss + ½‖weight‖² is minimised; the biases have no penalty. scikit-learn's `LogisticRegression` minimises the same for
 * three classes and more; for two it has one weight, and its minimum at 2C is this one at C.
 */
export interface LinearProbeProblem {
  /** (n, dim); the original's are not normalised. */
  features: Float32Array
  /** (n), each below `n_cls`; each class has one at least. */
  labels: Uint32Array
  n_cls: number
  c: number
  /** Steps after which the search stops; 1000. */
  max_iter?: number | undefined
  /** Where it begins; default: zeros. */
  start?: LinearProbe | undefined
}

export interface LinearProbeFit extends LinearProbe {
  /** The mean loss, with the penalty divided by C·n. */
  objective: number
  iterations: number
  /** False if the steps were used up, or rounding ended them, before no element of the mean loss's gradient was above 1e-4. */
  converged: boolean
}

/** As {@link LinearProbeProblem} says; see node.ts. */
export async function fitOn(
  addon: Addon,
  { features, labels, n_cls, c, max_iter = 1000, start }: LinearProbeProblem,
  { signal }: CallOptions,
): Promise<LinearProbeFit> {
  const spec = JSON.stringify({ n_cls, c, max_iter })
  return await nativeCall(addon)(signal, (cancel) =>
    addon.fitLinearProbe(features, labels, spec, start?.weight, start?.bias, cancel),
  )
}

/** Probabilities (n, n_cls); see node.ts. */
export async function probsOn(
  addon: Addon,
  { weight, bias }: LinearProbe,
  features: Float32Array,
): Promise<Float32Array> {
  return await nativeCall(addon)(undefined, () => addon.linearProbeProbs(features, weight, bias))
}
