/** GET /bundles and GET /bundles/{name}: what is published. */
import { Alias, BundleMetadata, BundleRef, check, listBundles, Sha256 } from 'cocoop'
import { answers, createRoute, router, z } from '../http.ts'

const List = z.object({ bundles: z.array(Alias.extend({ name: z.string() })) }).openapi('Bundles')
const Details = z
  .object({
    name: z.string(),
    sha256: Sha256,
    alias: Alias.nullable(),
    versions: z.array(Sha256),
    metadata: BundleMetadata,
  })
  .openapi('Bundle')

const list = createRoute({
  method: 'get',
  path: '/bundles',
  summary: 'Every name and the bundle that it means',
  responses: answers(List, 'Sorted by name'),
})
const read = createRoute({
  method: 'get',
  path: '/bundles/{name}',
  summary: 'One bundle: class names, method, model, training, versions',
  request: { params: z.object({ name: z.string().openapi({ description: 'name or name@sha256' }) }) },
  responses: answers(Details, 'The bundle'),
})

export const bundles = router()
  .openapi(list, async (c) => c.json({ bundles: await listBundles(c.var.runtime.store) }, 200))
  .openapi(read, async (c) => {
    const ref = check(BundleRef, c.req.valid('param').name, 'name', 'bad_request')
    return c.json(await c.var.runtime.details(ref), 200)
  })
