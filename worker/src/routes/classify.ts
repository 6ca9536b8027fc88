/** POST /classify: one encoded image in, the classes of one bundle out, best first. */
import { BundleRef, check, Method, parseJson, Sha256 } from 'cocoop'
import { type RawFields, readClassifyBody } from '../body.ts'
import { answers, createRoute, router, z } from '../http.ts'

const MAX_TOP_K = 1000
/** An open vocabulary is encoded by the text tower before the first answer: many names cost seconds. */
const MAX_CLASSNAMES = 100
const MAX_CLASSNAME_CHARS = 200

/** One name, several, or a JSON array of names. */
const Classnames = z.preprocess(
  (value) =>
    typeof value !== 'string'
      ? value
      : value.startsWith('[')
        ? parseJson(z.unknown(), value, 'classnames', 'bad_request')
        : [value],
  z.array(z.string().min(1).max(MAX_CLASSNAME_CHARS)).min(1).max(MAX_CLASSNAMES).optional(),
)
const Fields = z.strictObject({
  bundle: BundleRef,
  top_k: z.coerce.number().int().min(1).max(MAX_TOP_K).default(5),
  classnames: Classnames,
})

const Query = z.strictObject({
  bundle: z.string().optional().openapi({ description: 'name or name@sha256', example: 'backdrops' }),
  top_k: z
    .string()
    .optional()
    .openapi({ description: `1 to ${MAX_TOP_K}, default 5` }),
  classnames: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .openapi({
      description: `Other classes for the learned prompt, repeated or as a JSON array; at most ${MAX_CLASSNAMES}`,
    }),
})

const Answer = z
  .object({
    bundle: z.object({ name: z.string(), sha256: Sha256, method: Method }),
    model: z.object({ id: z.string(), sha256: Sha256 }),
    predictions: z.array(z.object({ classname: z.string(), index: z.int(), prob: z.number(), cosine: z.number() })),
    timings: z.object({ read_ms: z.number(), open_ms: z.number(), classify_ms: z.number() }),
  })
  .openapi('Classification')

// Plain schemas, not zod: the body is read in body.ts, which also counts parts before parsing them.
const fields = {
  bundle: { type: 'string' as const },
  top_k: { type: 'integer' as const, minimum: 1, maximum: MAX_TOP_K },
  classnames: { type: 'array' as const, items: { type: 'string' as const }, maxItems: MAX_CLASSNAMES },
}
const binary = { schema: { type: 'string' as const, format: 'binary' } }

const route = createRoute({
  method: 'post',
  path: '/classify',
  summary: 'Classify one image',
  description: 'A field of the body wins over the same field of the query. `bundle` is required in one of them.',
  request: {
    query: Query,
    body: {
      required: true,
      content: {
        'image/*': binary,
        'application/octet-stream': binary,
        'multipart/form-data': {
          schema: { type: 'object', required: ['image'], properties: { image: binary.schema, ...fields } },
        },
        'application/json': {
          schema: {
            type: 'object',
            required: ['image'],
            properties: { image: { type: 'string', format: 'byte' }, ...fields },
          },
        },
      },
    },
  },
  responses: answers(Answer, 'The best classes, best first'),
})

export const classify = router().openapi(route, async (c) => {
  const start = performance.now()
  const query: RawFields = c.req.valid('query')
  const body = await readClassifyBody(c)
  const { bundle, top_k, classnames } = check(Fields, { ...query, ...body.fields }, 'fields', 'bad_request')
  const read_ms = performance.now() - start
  const { timings, ...answer } = await c.var.runtime.classify(bundle, body.image, {
    topK: top_k,
    classnames,
    signal: c.req.raw.signal,
  })
  return c.json({ ...answer, timings: { read_ms, ...timings } }, 200)
})
