/** Makes model packs: a folder that is there whole or not at all. */
import { existsSync } from 'node:fs'
import { mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { FsStore, nativeEngine, Pack } from 'cocoop/node'
import type { Context } from './command.ts'
import { noSpace } from './files.ts'
import { openModel } from './models.ts'
import { formatBytes } from './progress.ts'

export interface PackOptions {
  bits: Pack['manifest']['bits']
  towers: ('vision' | 'text')[]
}

/** What linear layers may have; a flag's number is checked against it. */
export const BITS: readonly number[] = [32, 16, 8, 4] satisfies PackOptions['bits'][]

/**
 * Writes the model that `target` names as a pack into the folder `out`, which must not exist.
 * @throws TrainError `no_space`, `not_found`; CocoopError `cancelled` and the words of bad models
 */
export async function makePack(
  target: string,
  out: string,
  { bits, towers }: PackOptions,
  { terminal, signal }: Pick<Context, 'terminal' | 'signal'>,
): Promise<Pack> {
  const opened = await openModel(await nativeEngine(), target, { signal })
  using model = opened.model
  const beside = `${resolve(out)}.${process.pid}.part`
  try {
    await model.writePack(
      beside,
      { id: opened.id, bits, towers },
      ({ bytes, total }) =>
        terminal.status(`packing ${opened.id} at ${bits} bits  ${formatBytes(bytes)} of ${formatBytes(total)}`),
      { signal },
    )
    terminal.clear()
    await rename(beside, out)
  } catch (cause) {
    await rm(beside, { recursive: true, force: true })
    throw noSpace(out, cause)
  }
  return await Pack.open(new FsStore(out))
}

/** Whether `target` is a pack's folder. */
export const isPack = (target: string): boolean => existsSync(join(target, 'manifest.json'))

/** The pack of a model in a folder that goes when the caller is done; `target` may be a pack's folder itself, which stays. */
export async function openOrMakePack(
  target: string,
  options: PackOptions,
  context: Pick<Context, 'terminal' | 'signal'>,
): Promise<{ pack: Pack } & AsyncDisposable> {
  if (isPack(target)) {
    return { pack: await Pack.open(new FsStore(target)), [Symbol.asyncDispose]: async () => {} }
  }
  const folder = await mkdtemp(join(tmpdir(), 'cocoop-pack-'))
  const dispose = () => rm(folder, { recursive: true })
  try {
    return { pack: await makePack(target, join(folder, 'pack'), options, context), [Symbol.asyncDispose]: dispose }
  } catch (error) {
    await dispose()
    throw error
  }
}
