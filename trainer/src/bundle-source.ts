/** Finds a bundle by what a user types: a file, a run's folder, or a name in the store. */
import { existsSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BundleRef, readBundle } from 'cocoop/node'
import { TrainError } from './errors.ts'
import { openStore, type StoreFlags } from './stores.ts'

export interface BundleSource {
  bytes: Uint8Array
  /** For messages: a path, or name@sha256. */
  from: string
}

/**
 * The bundle that `target` names.
 * @throws TrainError `not_found`, CocoopError `bundle_not_found`
 */
export async function findBundle(target: string, flags?: StoreFlags): Promise<BundleSource> {
  if (existsSync(target)) {
    const path = statSync(target).isDirectory() ? join(target, 'bundle.safetensors') : target
    if (existsSync(path)) return { bytes: await readFile(path), from: path }
    throw new TrainError(
      'not_found',
      `${target} holds no bundle.safetensors`,
      'Is the run finished? `cocoop-train train --resume --out DIR` goes on.',
    )
  }
  const ref = BundleRef.safeParse(target)
  if (flags === undefined || !ref.success) throw new TrainError('not_found', `there is no file and no run ${target}`)
  await using open = await openStore(flags)
  const { bytes, name, sha256 } = await readBundle(open.store, ref.data)
  return { bytes, from: `${name}@${sha256.slice(0, 12)} in ${open.where}` }
}
