/** Publishing and moving aliases, for those who hold the admin key. Without a configured key all of it is refused. */
import { Alias, BundleName, CocoopError, parseJson, Sha256 } from 'cocoop'
import type { MiddlewareHandler } from 'hono'
import { answers, createRoute, type Env, MAX_BUNDLE_BYTES, mediaType, readBody, router, z } from '../http.ts'

const Published = Alias.extend({ name: z.string() }).openapi('Alias')
const params = z.object({ name: BundleName })
const security = [{ admin: [] }]

const publish = createRoute({
  method: 'put',
  path: '/bundles/{name}',
  summary: 'Publish a bundle: stored, read back, probed, then pointed to',
  security,
  request: {
    params,
    body: { required: true, content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } } },
  },
  responses: answers(Published, 'The alias as it is now'),
})
const move = createRoute({
  method: 'put',
  path: '/bundles/{name}/alias',
  summary: 'Point a name to a stored bundle: roll back or forward',
  security,
  request: {
    params,
    body: {
      required: true,
      content: {
        'application/json': {
          schema: { type: 'object', required: ['sha256'], properties: { sha256: { type: 'string' } } },
        },
      },
    },
  },
  responses: answers(Published, 'The alias as it is now'),
})
const remove = createRoute({
  method: 'delete',
  path: '/bundles/{name}/alias',
  summary: 'Take a name away; its bundles stay',
  security,
  request: { params },
  responses: answers(z.object({ name: z.string() }), 'Done'),
})

/** Refuses all but GET and HEAD without the key. */
const requireKey: MiddlewareHandler<Env> = async (c, next) => {
  if (c.req.method === 'GET' || c.req.method === 'HEAD') return await next()
  const { adminKey } = c.var
  if (adminKey === '')
    throw new CocoopError('unauthorized', 'no admin key is configured here, so nothing can be changed')
  const given = /^Bearer (.+)$/i.exec(c.req.header('authorization') ?? '')?.[1]
  if (given === undefined)
    throw new CocoopError('unauthorized', 'expected the header `Authorization: Bearer <admin key>`')
  if (!(await sameKey(given, adminKey))) throw new CocoopError('unauthorized', 'the admin key is wrong')
  await next()
}

/** Compares hashes, all 32 bytes: the time says nothing about where two keys differ, nor how long the right one is. */
async function sameKey(a: string, b: string): Promise<boolean> {
  const [hashA, hashB] = await Promise.all(
    [a, b].map((key) => crypto.subtle.digest('SHA-256', new TextEncoder().encode(key))),
  )
  const [bytesA, bytesB] = [new Uint8Array(hashA as ArrayBuffer), new Uint8Array(hashB as ArrayBuffer)]
  return bytesA.reduce((different, byte, i) => different | (byte ^ (bytesB[i] as number)), 0) === 0
}

const app = router()
app.use('/bundles/*', requireKey)
export const admin = app
  .openapi(publish, async (c) => {
    if (mediaType(c) !== 'application/octet-stream') {
      throw new CocoopError('unsupported_media', 'content-type: expected application/octet-stream')
    }
    return c.json(await c.var.runtime.publish(c.req.valid('param').name, await readBody(c, MAX_BUNDLE_BYTES)), 200)
  })
  .openapi(move, async (c) => {
    if (mediaType(c) !== 'application/json')
      throw new CocoopError('unsupported_media', 'content-type: expected application/json')
    const body = new TextDecoder().decode(await readBody(c, 1024))
    const { sha256 } = parseJson(z.strictObject({ sha256: Sha256 }), body, 'body', 'bad_request')
    return c.json(await c.var.runtime.setAlias(c.req.valid('param').name, sha256), 200)
  })
  .openapi(remove, async (c) => {
    const { name } = c.req.valid('param')
    await c.var.runtime.deleteAlias(name)
    return c.json({ name }, 200)
  })
