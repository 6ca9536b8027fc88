/** `models convert`: the same model under other names or in another type, as one safetensors file with its config. */
import { readdir, stat } from 'node:fs/promises'
import { nativeEngine } from 'cocoop/node'
import { z } from 'zod'
import type { Context } from '../command.ts'
import { TrainError } from '../errors.ts'
import { locateModel } from '../models.ts'
import { formatBytes } from '../progress.ts'

/** The flags of `models convert`. */
export const CONVERT = {
  dtype: z.enum(['f32', 'f16', 'bf16']).default('f16').meta({ description: 'convert: type of the weights' }),
  names: z
    .enum(['openai', 'hf', 'open_clip'])
    .default('hf')
    .meta({ description: 'convert: whose names the tensors get' }),
  out: z.string().optional().meta({ description: 'convert: write the model to this folder', value: 'DIR', short: 'o' }),
}

export interface ConvertFlags {
  dtype: 'f32' | 'f16' | 'bf16'
  names: 'openai' | 'hf' | 'open_clip'
  out?: string | undefined
}

export async function convertModel(target: string, { dtype, names, out }: ConvertFlags, context: Context) {
  if (out === undefined) throw new TrainError('usage', 'models convert: --out is missing')
  const there = await readdir(out).catch(() => [])
  if (there.length > 0) throw new TrainError('exists', `${out} is not empty`, 'Name another folder by --out.')
  const found = await locateModel(target)
  const engine = await nativeEngine()
  const written = await engine.convertModel(found, out, { dtype, names }, context)
  const { size } = await stat(written.weights)
  context.print(`${found.id} as ${dtype} with ${names} names in ${out}: ${formatBytes(size)}`)
  return { id: found.id, dtype, names, ...written, bytes: size }
}
