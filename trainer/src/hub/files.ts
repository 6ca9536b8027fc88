/** Which files of a folder or repository make a CLIP that can be opened: safetensors before pickles, never two sets of weights. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Names within one folder. */
export interface Choice {
  config: string
  /** One file, or all shards in order. */
  weights: string[]
}

/** The files that say what a model is. */
export const CONFIGS = ['config.json', 'open_clip_config.json'] as const

/**
 * Chooses among the `names` of one folder. `isClip` tells whether config.json is that of a CLIP of Transformers: timm's
 * repositories have one that is not.
 */
export function chooseFiles(names: readonly string[], isClip: boolean): Choice | undefined {
  const has = (name: string) => names.includes(name)
  const openClip = has('open_clip_config.json')
  const one = (config: string, allowed: boolean, name: string): Choice[] =>
    allowed && has(name) ? [{ config, weights: [name] }] : []
  const shards = shardsOf(names)
  const others = names.filter((name) => /\.pt$/.test(name))
  return [
    ...one('config.json', isClip, 'model.safetensors'),
    ...(isClip && shards.length > 0 ? [{ config: 'config.json', weights: shards }] : []),
    ...one('open_clip_config.json', openClip, 'open_clip_model.safetensors'),
    ...one('config.json', isClip, 'pytorch_model.bin'),
    ...one('open_clip_config.json', openClip, 'open_clip_pytorch_model.bin'),
    ...(isClip && others.length === 1 ? [{ config: 'config.json', weights: others }] : []),
  ][0]
}

/** `model-00001-of-00002.safetensors` and its like, if all are there. */
function shardsOf(names: readonly string[]): string[] {
  const shards = names.filter((name) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(name)).sort()
  return shards.length === Number(shards[0]?.slice(15, 20) ?? 0) ? shards : []
}

/** Whether the text of config.json is that of a CLIP: of Transformers, whole or one tower, or in the words of open_clip. */
export function isClipConfig(text: string): boolean {
  try {
    const config = (JSON.parse(text) ?? {}) as Record<string, unknown>
    const keys = ['text_config', 'vision_config', 'model_cfg', 'vision_cfg', 'quick_gelu']
    return /^clip/.test(String(config.model_type)) || keys.some((key) => key in config)
  } catch {
    return false
  }
}

/** Paths of the files of the model in `folder`, or `undefined` if it holds none that is complete. */
export function modelFiles(folder: string): Choice | undefined {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return undefined
  // A link whose blob is gone is no file.
  const names = readdirSync(folder).filter((name) => existsSync(join(folder, name)))
  // Only beside another config is a config.json of something else to be expected.
  const isClip =
    names.includes('config.json') &&
    (!names.includes('open_clip_config.json') || isClipConfig(readFileSync(join(folder, 'config.json'), 'utf8')))
  const choice = chooseFiles(names, isClip)
  if (choice === undefined) return undefined
  return { config: join(folder, choice.config), weights: choice.weights.map((name) => join(folder, name)) }
}
