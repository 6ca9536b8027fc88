/** What a run made, to classify images with: a bundle's prompts, or a linear probe. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type EngineModel, linearProbeProbs } from 'cocoop/node'
import type { Context } from '../command.ts'
import { TrainError } from '../errors.ts'
import { evaluateBundle, type Tested, testProbabilities } from '../evaluate.ts'
import type { Embedded } from '../images.ts'
import { type Probe, readProbe } from './probe-file.ts'

export interface Predictor {
  /** Whether it takes image features L2-normalised, or as they leave the tower. */
  normalized: boolean
  /** @throws TrainError `class_mismatch` for images of classes that it does not know */
  test: (data: Embedded) => Promise<Tested>
}

type Reporting = Pick<Context, 'terminal' | 'signal'>

/** The prompts of a bundle, which take any class names unless they are class-specific. */
export function bundlePredictor(model: EngineModel, bundle: Uint8Array, context: Reporting): Predictor {
  return { normalized: true, test: (data) => evaluateBundle(model, bundle, data, context) }
}

/** A linear probe, which knows its own classes only. */
export function probePredictor(probe: Probe): Predictor {
  return {
    normalized: false,
    test: async (data) => {
      if (probe.classnames.join('\n') !== data.classnames.join('\n')) {
        const message = `the linear probe knows ${probe.classnames.length} classes ("${probe.classnames[0]}", ...), not the ${data.classnames.length} of these images ("${data.classnames[0]}", ...)`
        throw new TrainError('class_mismatch', message, 'A linear probe serves the classes it was trained on only.')
      }
      return testProbabilities(await linearProbeProbs(probe, data.features), data)
    },
  }
}

/**
 * What the finished run in `folder` left.
 * @throws TrainError `not_found` if there is none
 */
export async function openPredictor(folder: string, model: EngineModel, context: Reporting): Promise<Predictor> {
  const [probe, bundle] = [join(folder, 'probe.safetensors'), join(folder, 'bundle.safetensors')]
  if (existsSync(probe)) return probePredictor(await readProbe(probe))
  if (existsSync(bundle)) return bundlePredictor(model, await readFile(bundle), context)
  throw new TrainError('not_found', `${folder} holds no finished run`, 'Go on with it by `train --resume --out DIR`.')
}
