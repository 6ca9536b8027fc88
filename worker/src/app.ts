/** The whole HTTP application, the same on Cloudflare and on Node.js: mounts the routes, refuses what fits none, shapes every error. */
import { CocoopError } from 'cocoop'
import { secureHeaders } from 'hono/secure-headers'
import { MAX_BODY_BYTES, problem, router } from './http.ts'
import { admin } from './routes/admin.ts'
import { bundles } from './routes/bundles.ts'
import { classify } from './routes/classify.ts'
import { health } from './routes/health.ts'
import { page } from './routes/page.ts'
import type { Runtime } from './runtime.ts'

/** What the host gives for one request. */
export interface Host {
  runtime: Runtime
  adminKey?: string | undefined
  maxBodyBytes?: number | undefined
}

export function createApp(hostOf: (bindings: unknown) => Host) {
  const app = router()
  app.use(secureHeaders({ crossOriginResourcePolicy: 'same-site' }))
  app.use(async (c, next) => {
    const { runtime, adminKey = '', maxBodyBytes = MAX_BODY_BYTES } = hostOf(c.env)
    c.set('runtime', runtime)
    c.set('adminKey', adminKey)
    c.set('maxBodyBytes', maxBodyBytes)
    await next()
  })
  for (const routes of [admin, classify, bundles, health, page]) app.route('/', routes)
  app.openAPIRegistry.registerComponent('securitySchemes', 'admin', { type: 'http', scheme: 'bearer' })
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: { title: 'cocoop', version: '0.1.0', description: 'Classifies images with learned CLIP prompts.' },
  })
  refuseOtherMethods(app)
  app.notFound((c) => {
    throw new CocoopError('not_found', `there is nothing at ${c.req.path}`)
  })
  app.onError((error, c) => problem(error, c))
  return app
}

/** A path that exists under another method answers 405 with `Allow`, not 404. */
function refuseOtherMethods(app: ReturnType<typeof router>): void {
  const methods = new Map<string, Set<string>>()
  for (const { method, path } of app.routes) {
    if (method === 'ALL') continue // middleware
    methods.set(path, (methods.get(path) ?? new Set<string>()).add(method))
    if (method === 'GET') methods.get(path)?.add('HEAD')
  }
  for (const [path, allowed] of methods) {
    const allow = [...allowed].sort().join(', ')
    app.all(path, (c) => {
      c.header('Allow', allow)
      throw new CocoopError('method_not_allowed', `${path} takes ${allow}, not ${c.req.method}`)
    })
  }
}
