/** Finds and reads a CLIP model: a folder, one in models/, or one that was pulled from the Hugging Face hub. */
import { readFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { TrainError } from './errors.ts'
import { cachedModel, cacheFolder, nameInCache, parseRef } from './hub/cache.ts'
import { modelFiles } from './hub/files.ts'

/** The embedded model, and the default of every command. */
export const DEFAULT_MODEL = 'emoji-clip'

/** Where models are looked for by name: here, and beside this package. */
export const MODEL_FOLDERS = [resolve('models'), fileURLToPath(new URL('../../models', import.meta.url))]

export interface ModelFolder {
  /** The folder's name, or the repository's on the hub. */
  id: string
  folder: string
  weights: Uint8Array
  /** The text of config.json. */
  config: string
}

/**
 * The folder that `target` names: a folder, one in models/ here or beside this package, or a pulled repository of the hub.
 * @throws TrainError `not_found` with the places that were looked at.
 */
export function findModel(target: string): string {
  const ref = parseRef(target)
  const places = target.startsWith('hub:') ? [] : [target, ...MODEL_FOLDERS.map((folder) => join(folder, target))]
  const found = places.find((folder) => modelFiles(folder) !== undefined) ?? (ref && cachedModel(ref))
  if (found !== undefined) return resolve(found)
  const looked = [...new Set(places.map((place) => resolve(place))), ...(ref ? [cacheFolder()] : [])]
  throw new TrainError(
    'not_found',
    `there is no model called ${target} in ${looked.join(', ')}`,
    ref
      ? `\`cocoop-train models pull ${target.replace(/^hub:/, '')}\` brings it from the Hugging Face hub.`
      : '--model takes a folder with model.safetensors and config.json of a CLIP, or a repository of the Hugging Face hub that was pulled; `cocoop-train models list` names some.',
  )
}

/** Reads the model's files. */
export async function readModel(target: string): Promise<ModelFolder> {
  const folder = findModel(target)
  const files = modelFiles(folder)
  const [path, ...more] = files?.weights ?? []
  if (files === undefined || path === undefined) throw new TrainError('not_found', `${folder} holds no model`)
  if (more.length > 0) throw new TrainError('bad_model', `${folder}: weights in ${more.length + 1} files`)
  const [weights, config] = await Promise.all([readFile(path), readFile(files.config, 'utf8')])
  return { id: nameInCache(folder) ?? basename(folder), folder, weights, config }
}
