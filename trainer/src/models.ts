/** Finds and reads a CLIP model's folder: model.safetensors and config.json. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { TrainError } from './errors.ts'

/** The embedded model, and the default of every command. */
export const DEFAULT_MODEL = 'emoji-clip'

const EMBEDDED = fileURLToPath(new URL('../../models', import.meta.url))

export interface ModelFolder {
  /** The folder's name. */
  id: string
  folder: string
  weights: Uint8Array
  /** The text of config.json. */
  config: string
}

/**
 * The folder that `target` names: a folder, or one in models/ here or beside this package.
 * @throws TrainError `not_found` with the places that were looked at.
 */
export function findModel(target: string): string {
  const places = [target, join('models', target), join(EMBEDDED, target)]
  const found = places.find((folder) => existsSync(join(folder, 'model.safetensors')))
  if (found !== undefined) return resolve(found)
  const looked = places.map((place) => resolve(place)).filter((place, i, all) => all.indexOf(place) === i)
  throw new TrainError(
    'not_found',
    `there is no model called ${target}: no model.safetensors in ${looked.join(', ')}`,
    '--model takes a folder with model.safetensors and config.json of a CLIP ViT, such as a download of openai/clip-vit-base-patch32.',
  )
}

/** Reads the model's files. */
export async function readModel(target: string): Promise<ModelFolder> {
  const folder = findModel(target)
  const [weights, config] = await Promise.all([
    readFile(join(folder, 'model.safetensors')),
    readFile(join(folder, 'config.json'), 'utf8'),
  ])
  return { id: basename(folder), folder, weights, config }
}
