/** config.json of a run: written before anything slow begins, and what --resume is held to. */
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import type { Context } from '../command.ts'
import { TrainError } from '../errors.ts'
import { readJson } from '../files.ts'
import { fingerprint, type Selected } from '../select.ts'
import type { RunFolder } from './folder.ts'
import type { TrainFlags, TrainOptions } from './options.ts'

const Config = z.object({
  version: z.string(),
  options: z.record(z.string(), z.unknown()),
  data: z.object({ name: z.string(), n_train: z.number(), n_cls: z.number(), fingerprint: z.string() }),
  model: z.object({ id: z.string(), sha256: z.string() }),
  /** Whether several processes train it: their checkpoints are of views that none of them has seen all of. */
  shared: z.boolean().optional(),
})
/** config.json: enough to repeat the run by `--config`. */
export type Config = z.infer<typeof Config>

/** What a config says of the images that are learned from. */
export function dataFacts(name: string, data: Selected & { images: readonly Uint8Array[] }): Config['data'] {
  const { items, classnames, images } = data
  return { name, n_train: items.length, n_cls: classnames.length, fingerprint: fingerprint(data, images) }
}

/**
 * The config of the run in `folder`.
 * @throws TrainError `bad_checkpoint` if there is none
 */
export async function openConfig(folder: string): Promise<Config & { options: TrainOptions }> {
  const path = join(folder, 'config.json')
  const parsed = Config.safeParse(await readJson(path))
  if (!parsed.success) throw new TrainError('bad_checkpoint', `${path} is not the config of a run`)
  return { ...parsed.data, options: parsed.data.options as unknown as TrainOptions }
}

/** Flags that say nothing of what the run is: the images are compared, not where they lie. */
const NOT_STORED: ReadonlySet<string> = new Set(['out', 'resume', 'cache', 'report', 'root'])

/** The stored config, after a check that the flags given now say nothing else. */
export async function readConfig(
  run: RunFolder,
  flags: TrainFlags,
  given: ReadonlySet<string>,
): Promise<Config & { options: TrainOptions }> {
  const config = await openConfig(run.path)
  const stored: Record<string, unknown> = config.options
  for (const key of given) {
    if (NOT_STORED.has(key)) continue
    const now = flags[key as keyof TrainFlags]
    if (isDeepStrictEqual(stored[key], now)) continue
    const message = `--${key.replaceAll('_', '-')} is ${JSON.stringify(now)}, the run was started with ${JSON.stringify(stored[key])}`
    throw new TrainError(
      'usage',
      message,
      '--resume goes on with the options that the run was started with; leave the others out.',
    )
  }
  return config
}

/** Other images or another model would silently give other prompts. */
export function compare(run: RunFolder, stored: Config, now: Config, { terminal }: Context): void {
  if (stored.data.fingerprint !== now.data.fingerprint) {
    throw new TrainError(
      'bad_data',
      `the images of ${now.data.name} are not those that ${run.path} was started with`,
      'Restore them, or start a new run.',
    )
  }
  if (stored.model.sha256 !== now.model.sha256) {
    throw new TrainError('model_mismatch', `the model ${now.model.id} is not the one that ${run.path} was started with`)
  }
  if ((stored.shared ?? false) !== (now.shared ?? false)) {
    throw new TrainError(
      'usage',
      `${run.path} was started by ${stored.shared ? 'several processes' : 'one process'}`,
      stored.shared ? 'Go on with several (docs/distributed.md).' : 'Go on with one: unset WORLD_SIZE.',
    )
  }
  if (stored.version !== now.version) {
    terminal.warn(
      `the run was started by version ${stored.version}, this is ${now.version}: the result may differ in the last bits`,
    )
  }
}
