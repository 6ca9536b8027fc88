/** Finds and opens a CLIP model: a folder, one in models/, one pulled from the Hugging Face hub, or a file of weights. */
import { existsSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, dirname, extname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { CallOptions, ModelPaths, NativeEngine, NativeModel } from 'cocoop/node'
import { TrainError } from './errors.ts'
import { cachedModel, cacheFolder, nameInCache, parseRef } from './hub/cache.ts'
import { CONFIGS, isClipConfig, modelFiles } from './hub/files.ts'

/** The embedded model, and the default of every command. */
export const DEFAULT_MODEL = 'emoji-clip'

/** Where models are looked for by name: here, and beside this package. */
export const MODEL_FOLDERS = [resolve('models'), fileURLToPath(new URL('../../models', import.meta.url))]

export interface LocatedModel extends ModelPaths {
  /** The folder's name, the repository's on the hub, or the file's without its ending. */
  id: string
  folder: string
}

export interface ModelFolder extends LocatedModel {
  weights: Uint8Array
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
      : '--model takes a folder with the weights and the config of a CLIP, a file of weights (.safetensors, .pt, .bin), or a repository of the Hugging Face hub that was pulled; `cocoop-train models list` names some.',
  )
}

/**
 * The files of the model that `target` names, and the text of its config; that of a single file is beside it, or "".
 * @throws TrainError as {@link findModel}
 */
export async function locateModel(target: string): Promise<LocatedModel> {
  if (/^\.(safetensors|pt|pth|bin)$/.test(extname(target)) && existsSync(target) && statSync(target).isFile()) {
    const [path, folder] = [resolve(target), dirname(resolve(target))]
    const config = await configBeside(path)
    const id = config === undefined ? basename(path, extname(path)) : nameOf(folder)
    return { id, folder, paths: [path], config: config === undefined ? '' : await readConfig(config) }
  }
  const folder = findModel(target)
  const files = modelFiles(folder)
  if (files === undefined) throw new TrainError('not_found', `${folder} holds no model`)
  return { id: nameOf(folder), folder, paths: files.weights, config: await readConfig(files.config) }
}

/** Opens the model that `target` names, its files mapped. */
export async function openModel(
  engine: NativeEngine,
  target: string,
  options: CallOptions = {},
): Promise<{ id: string; model: NativeModel }> {
  const located = await locateModel(target)
  return { id: located.id, model: await engine.openModel(located, options) }
}

/** Reads the model's files, where the weights are in one. */
export async function readModel(target: string): Promise<ModelFolder> {
  const located = await locateModel(target)
  const [path, ...more] = located.paths
  if (path === undefined || more.length > 0) {
    throw new TrainError('bad_model', `${located.folder}: weights in ${located.paths.length} files, expected one`)
  }
  return { ...located, weights: await readFile(path) }
}

function nameOf(folder: string): string {
  return nameInCache(folder) ?? basename(folder)
}

/** The config that belongs to a file of weights: open_clip's for its own, else a CLIP's that lies beside. */
async function configBeside(weights: string): Promise<string | undefined> {
  const names = basename(weights).startsWith('open_clip') ? [...CONFIGS].reverse() : CONFIGS
  for (const name of names) {
    const path = join(dirname(weights), name)
    if (!existsSync(path)) continue
    if (name === 'open_clip_config.json' || isClipConfig(await readFile(path, 'utf8'))) return path
  }
  return undefined
}

/** The text of a config. Hugging Face keeps the pixels' normalisation in a file of its own, which is put into it. */
async function readConfig(path: string): Promise<string> {
  const text = await readFile(path, 'utf8')
  const beside = join(dirname(path), 'preprocessor_config.json')
  if (basename(path) !== 'config.json' || !existsSync(beside)) return text
  const [config, preprocessor_config] = [parse(text), parse(await readFile(beside, 'utf8'))]
  return config === undefined || preprocessor_config === undefined
    ? text
    : JSON.stringify({ ...config, preprocessor_config })
}

/** A JSON object; what is none is left to the core, which says what is wrong with it. */
function parse(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}
