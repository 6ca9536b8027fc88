/** Where bundles are published to and read from: the Workers KV of a wrangler.toml, here or in the cloud, or a folder. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Bytes, FsStore, type KvNamespace, KvStore, type Store } from 'cocoop/node'
import { z } from 'zod'
import { TrainError } from './errors.ts'

/** The KV namespace's name in wrangler.toml and in the worker. */
export const BINDING = 'COCOOP'

export const STORE = {
  store: z.string().optional().meta({ description: 'A folder as the store, instead of Workers KV', value: 'DIR' }),
  kv: z
    .enum(['local', 'remote'])
    .default('local')
    .meta({ description: 'The KV that `wrangler dev` serves here, or the one in the cloud' }),
  wrangler: z
    .string()
    .optional()
    .meta({ description: `The wrangler.toml that binds ${BINDING}`, value: 'FILE' }),
}
export type StoreFlags = z.output<z.ZodObject<typeof STORE>>

export interface OpenStore extends AsyncDisposable {
  store: Store
  /** For messages. */
  where: string
}

/**
 * Opens the store that the flags name.
 * @throws TrainError `not_found` if it is KV and there is no wrangler.toml or no wrangler.
 */
export async function openStore(flags: StoreFlags): Promise<OpenStore> {
  if (flags.store !== undefined) {
    return { store: new FsStore(flags.store), where: resolve(flags.store), [Symbol.asyncDispose]: async () => {} }
  }
  const config = findWranglerConfig(flags.wrangler)
  return flags.kv === 'local' ? localKv(config) : { ...remoteKv(config), [Symbol.asyncDispose]: async () => {} }
}

/** wrangler.toml here, or in the clone that this package lies in. */
export function findWranglerConfig(file?: string): string {
  const clone = fileURLToPath(new URL('../../wrangler.toml', import.meta.url))
  const places = file === undefined ? [resolve('wrangler.toml'), clone] : [resolve(file)]
  const found = places.find((place) => existsSync(place))
  if (found !== undefined) return found
  throw new TrainError(
    'not_found',
    `there is no ${places.join(' and no ')}`,
    '--wrangler FILE names another one; --store DIR publishes to a folder.',
  )
}

/** The program file of the wrangler that is installed here. */
export function findWrangler(): string {
  const require = createRequire(import.meta.url)
  try {
    const file = require.resolve('wrangler/package.json')
    return join(dirname(file), (require(file) as { bin: { wrangler: string } }).bin.wrangler)
  } catch (cause) {
    throw new TrainError(
      'not_found',
      'wrangler is not installed',
      '`npm install wrangler`, or publish to a folder by --store DIR.',
      { cause },
    )
  }
}

/** What every wrangler started from here gets: nothing is sent home, nothing is asked. */
export const WRANGLER_ENV = { WRANGLER_SEND_METRICS: 'false', CI: '1', FORCE_COLOR: '0' }

/** The state that `wrangler dev` of this wrangler.toml serves. */
async function localKv(config: string): Promise<OpenStore> {
  findWrangler()
  const { getPlatformProxy } = await import('wrangler')
  const proxy = await getPlatformProxy({
    configPath: config,
    persist: { path: join(dirname(config), '.wrangler/state/v3') },
  })
  const kv = proxy.env[BINDING]
  if (kv === undefined) {
    await proxy.dispose()
    throw new TrainError('not_found', `${config} has no KV namespace bound as ${BINDING}`)
  }
  return {
    store: new KvStore(kv as KvNamespace),
    where: `local KV of ${config}`,
    [Symbol.asyncDispose]: () => proxy.dispose(),
  }
}

/** KV in the cloud, through wrangler and its login. `local` is for tests: the same commands on the local state. */
export function remoteKv(config: string, local = false): Omit<OpenStore, keyof AsyncDisposable> {
  const program = findWrangler()
  const kv = (...args: string[]) =>
    runWrangler(program, [
      'kv',
      'key',
      ...args,
      '--binding',
      BINDING,
      local ? '--local' : '--remote',
      '--config',
      config,
    ])
  const list = async (prefix: string) => {
    const found = JSON.parse((await kv('list', '--prefix', prefix)).toString('utf8')) as { name: string }[]
    return found.map(({ name }) => name).sort()
  }
  const store: Store = {
    list,
    get: async (key) => {
      // `kv key get` says "Value not found" on stdout and leaves with 0: the list tells a missing key from such a value.
      if (!(await list(key)).includes(key)) return null
      return new Uint8Array(await kv('get', key)) as Bytes
    },
    put: async (key, value) => {
      const folder = await mkdtemp(join(tmpdir(), 'cocoop-kv-'))
      try {
        await writeFile(join(folder, 'value'), value)
        await kv('put', key, '--path', join(folder, 'value'))
      } finally {
        await rm(folder, { recursive: true })
      }
    },
    delete: async (key) => {
      await kv('delete', key)
    },
  }
  return { store, where: `${local ? 'local' : 'remote'} KV of ${config}` }
}

function runWrangler(program: string, args: string[]): Promise<Buffer> {
  const options = { encoding: 'buffer', maxBuffer: 64 * 1024 * 1024, env: { ...process.env, ...WRANGLER_ENV } } as const
  return new Promise((done, fail) => {
    execFile(process.execPath, [program, ...args], options, (error, stdout, stderr) => {
      if (error === null) return done(stdout)
      const why = stderr.toString('utf8').trim().split('\n').slice(0, 3).join(' ')
      fail(
        new TrainError(
          'store_unavailable',
          `wrangler ${args.slice(0, 3).join(' ')}: ${why || error.message}`,
          '`npx wrangler whoami` tells whether you are logged in.',
        ),
      )
    })
  })
}
