/** The folder of a run of the original trainers: prompt_learner/model.pth.tar-N, and a file that names the newest. */
import { existsSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { TrainError } from './errors.ts'

export const PROMPT_LEARNER = 'prompt_learner'

/** The file in a run's folder that names its newest checkpoint. */
export function newestOf(run: string): string {
  return join(run, PROMPT_LEARNER, 'checkpoint')
}

/**
 * The checkpoint that `target` names: a file, a run's folder, or the folder of its checkpoints.
 * @param epoch of a run; default: the newest
 * @throws TrainError `not_found`; `usage` where an epoch is asked of a file
 */
export async function findOriginal(target: string, epoch?: number): Promise<string> {
  if (!existsSync(target)) throw new TrainError('not_found', `there is no file and no folder ${target}`)
  if (!statSync(target).isDirectory()) {
    if (epoch === undefined) return target
    throw new TrainError('usage', `--epoch chooses a checkpoint of a run, ${target} is a file`)
  }
  const inside = join(target, PROMPT_LEARNER)
  const folder = existsSync(inside) ? inside : target
  const name = epoch === undefined ? await newest(folder) : `model.pth.tar-${epoch}`
  const path = join(folder, name)
  if (existsSync(path)) return path
  throw new TrainError('not_found', `${folder} holds no ${name}`, 'Name the file itself.')
}

async function newest(folder: string): Promise<string> {
  const path = join(folder, 'checkpoint')
  if (!existsSync(path))
    throw new TrainError('not_found', `${folder} holds no checkpoint of CoOp or CoCoOp`, 'Name the file itself.')
  return basename((await readFile(path, 'utf8')).split('\n')[0]?.trim() ?? '')
}
