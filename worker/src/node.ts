/** The application on Node.js: `npm run serve -- --store DIR [--port N] [--host ADDRESS]`; the store is a folder, the engine the addon. */
import { parseArgs } from 'node:util'
import { serve } from '@hono/node-server'
import { CocoopError, check, createEngine, FsStore, messageOf } from 'cocoop/node'
import { z } from 'zod'
import { createApp } from './app.ts'
import { Runtime } from './runtime.ts'

const HELP = `Serves published bundles over HTTP.

  npm run serve -- --store DIR [--port 8787] [--host 127.0.0.1]

  --store DIR      the folder that \`cocoop-train publish --store DIR\` writes
  --port N         0 takes a free one (default 8787)
  --host ADDRESS   0.0.0.0 to be reached from elsewhere (default 127.0.0.1)
  --help           this text

ADMIN_KEY in the environment opens the admin routes.`

const Flags = z.strictObject({
  store: z.string({ error: '--store DIR is needed' }).min(1),
  port: z.coerce.number().int().min(0).max(65_535).default(8787),
  host: z.string().default('127.0.0.1'),
})

async function main(args: string[]): Promise<void> {
  const { help, ...values } = readFlags(args)
  if (help) return console.log(HELP)
  const { store, port, host } = check(Flags, values, 'flags', 'usage')
  const runtime = new Runtime({ store: new FsStore(store), createEngine })
  const { name } = await runtime.engine()
  const adminKey = process.env.ADMIN_KEY
  const app = createApp(() => ({ runtime, adminKey }))
  const server = serve({ fetch: app.fetch, port, hostname: host }, ({ port }) => {
    console.log(
      `cocoop serves ${store} by ${name} at http://${host.includes(':') ? `[${host}]` : host}:${port} (Ctrl-C ends it)`,
    )
  })
  server.on('error', fail)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      server.close() // requests in work are answered first
      if ('closeIdleConnections' in server) server.closeIdleConnections()
    })
  }
}

function readFlags(args: string[]) {
  try {
    const { values } = parseArgs({
      args,
      strict: true,
      options: {
        store: { type: 'string' },
        port: { type: 'string' },
        host: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    })
    return values
  } catch (cause) {
    throw new CocoopError('usage', messageOf(cause), { cause })
  }
}

function fail(error: unknown): void {
  console.error(`serve: ${messageOf(error)}`)
  process.exit(CocoopError.is(error) && error.code === 'usage' ? 2 : 1)
}

main(process.argv.slice(2)).catch(fail)
