/** `cocoop-train bundles`: what the store serves under which name, and going back. */
import {
  BundleName,
  BundleRef,
  listBundles,
  listVersions,
  readAlias,
  readBundle,
  setAlias,
  wasmEngine,
} from 'cocoop/node'
import { z } from 'zod'
import { type Context, defineCommand } from '../command.ts'
import { TrainError } from '../errors.ts'
import { formatBytes } from '../progress.ts'
import { type OpenStore, openStore, STORE } from '../stores.ts'
import { table } from '../table.ts'

const FLAGS = z.object({
  action: z
    .enum(['list', 'show', 'rollback'])
    .default('list')
    .meta({ description: 'What to do', value: 'list|show|rollback', positional: true }),
  bundle: z
    .string()
    .optional()
    .meta({ description: 'A name, or name@sha256 (show, rollback)', value: 'NAME', positional: true }),
  ...STORE,
})

export const bundles = defineCommand({
  name: 'bundles',
  summary: 'List and show published bundles, or go back to an earlier one',
  details:
    '`rollback NAME` points the name to the bundle before; `rollback NAME@SHA256` to that one. Nothing is deleted.',
  flags: FLAGS,
  examples: [
    'cocoop-train bundles list',
    'cocoop-train bundles show backdrops',
    'cocoop-train bundles rollback backdrops --store store/',
  ],
  run: async (flags, context) => {
    await using open = await openStore(flags)
    // Awaited here: the store is closed when this scope is left.
    if (flags.action === 'list') return await list(open, context)
    const ref = BundleRef.safeParse(flags.bundle)
    if (!ref.success)
      throw new TrainError(
        'usage',
        `bundles ${flags.action}: expected NAME or NAME@SHA256, got ${flags.bundle ?? 'nothing'}`,
      )
    return await (flags.action === 'show' ? show(open, ref.data, context) : rollback(open, ref.data, context))
  },
})

async function list({ store, where }: OpenStore, { print, terminal }: Context) {
  const found = await listBundles(store)
  if (found.length === 0) terminal.log(`no bundles in the ${where}; \`cocoop-train publish\` brings one there`)
  else {
    const rows = found.map(({ name, method, n_cls, sha256, model_sha256 }) => [
      name,
      method,
      String(n_cls),
      sha256.slice(0, 12),
      model_sha256.slice(0, 12),
    ])
    print(table(['name', 'method', 'classes', 'bundle', 'model'], rows))
  }
  return found
}

async function show({ store, where }: OpenStore, ref: BundleRef, { print }: Context) {
  const { bytes, name, sha256 } = await readBundle(store, ref)
  const metadata = (await wasmEngine()).bundleMetadata(bytes)
  const alias = await readAlias(store, name)
  const versions = await listVersions(store, name)
  print(`${name}@${sha256} in the ${where}, ${formatBytes(bytes.length)}`)
  print(JSON.stringify(metadata, null, 2))
  print(
    `versions: ${versions.map((hash) => (hash === alias.sha256 ? `${hash.slice(0, 12)} (served)` : hash.slice(0, 12))).join(', ')}`,
  )
  return { name, sha256, bytes: bytes.length, alias, versions, metadata }
}

async function rollback({ store }: OpenStore, ref: BundleRef, { print }: Context) {
  const name = BundleName.parse(ref.name)
  const alias = await readAlias(store, name)
  const sha256 = ref.sha256 ?? alias.previous
  if (sha256 === null)
    throw new TrainError(
      'not_found',
      `${name} points to the first bundle that was published under it`,
      '`cocoop-train bundles show NAME` lists what there is.',
    )
  const moved = await setAlias(store, { name, sha256 }, { engine: await wasmEngine() })
  print(`${name} now points to ${sha256.slice(0, 12)}, before ${alias.sha256.slice(0, 12)}`)
  return moved
}
