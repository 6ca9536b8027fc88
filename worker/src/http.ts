/** What every route shares: the router's type, the problem document, the request's body up to a limit. */
import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi'
import { CocoopError, ERRORS, type ErrorCode, explain, messageOf } from 'cocoop'
import type { Context } from 'hono'
import { HTTPException } from 'hono/http-exception'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { Runtime } from './runtime.ts'

export { createRoute, z }

/** Bytes of one request's body. A bundle must fit into one value of KV. */
export const MAX_BODY_BYTES = 10 * 1024 * 1024
export const MAX_BUNDLE_BYTES = 24 * 1024 * 1024

export interface Env {
  Variables: {
    runtime: Runtime
    /** Empty: admin routes are refused. */
    adminKey: string
    /** Body limit of POST /classify. */
    maxBodyBytes: number
  }
}

/** A router whose validation failures leave as `bad_request`. */
export function router(): OpenAPIHono<Env> {
  return new OpenAPIHono<Env>({
    defaultHook: (result) => {
      if (!result.success) throw new CocoopError('bad_request', `${result.target}: ${explain(result.error)}`)
    },
  })
}

/** RFC 9457, with the error's word as `code`. */
export const Problem = z
  .object({
    type: z.string().openapi({ example: 'urn:cocoop:error:bundle_not_found' }),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]),
  })
  .openapi('Problem')

/** A JSON answer of `schema`, and every refusal as a problem. */
export function answers<T extends z.ZodType>(schema: T, description: string) {
  return {
    200: { description, content: { 'application/json': { schema } } },
    default: { description: 'A problem', content: { 'application/problem+json': { schema: Problem } } },
  }
}

/** Any thrown thing as a problem document. What is not the caller's doing is logged. */
export function problem(thrown: unknown, c: Context<Env>): Response {
  const error = toCocoopError(thrown)
  const { status, title } = ERRORS[error.code]
  if (status >= 500 && error.code !== 'overloaded') {
    const cause = error.cause === undefined ? undefined : messageOf(error.cause)
    console.error(
      JSON.stringify({
        level: 'error',
        code: error.code,
        message: error.message,
        cause,
        method: c.req.method,
        path: c.req.path,
      }),
    )
  }
  const body = {
    type: `urn:cocoop:error:${error.code}`,
    title,
    status,
    detail: error.code === 'internal' ? 'The log says more.' : error.message,
    code: error.code,
  } satisfies z.infer<typeof Problem>
  if (status === 401) c.header('WWW-Authenticate', 'Bearer realm="cocoop admin"')
  if (status === 503) c.header('Retry-After', '1')
  return c.body(JSON.stringify(body), status as ContentfulStatusCode, { 'Content-Type': 'application/problem+json' })
}

/** Hono's own refusals keep their status; anything unknown is `internal`. */
function toCocoopError(thrown: unknown): CocoopError {
  const known = CocoopError.from(thrown)
  if (known) return known
  const code = thrown instanceof HTTPException ? HTTP_CODES[thrown.status] : undefined
  return new CocoopError(code ?? 'internal', messageOf(thrown), { cause: thrown })
}

const HTTP_CODES: Partial<Record<number, ErrorCode>> = {
  400: 'bad_request',
  401: 'unauthorized',
  404: 'not_found',
  405: 'method_not_allowed',
  413: 'too_large',
  415: 'unsupported_media',
}

/**
 * The whole body, read piece by piece so that one without a length stops at the limit too.
 * @throws CocoopError `too_large`, `unsupported_media` (a content encoding), `bad_request` (it ended early)
 */
export async function readBody(c: Context<Env>, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const encoding = c.req.header('content-encoding') ?? 'identity'
  if (encoding !== 'identity')
    throw new CocoopError('unsupported_media', `content-encoding: expected none, got ${encoding}`)
  const tooLarge = new CocoopError('too_large', `the body is larger than ${maxBytes} bytes`)
  if (Number(c.req.header('content-length') ?? 0) > maxBytes) throw tooLarge
  const pieces: Uint8Array[] = []
  let length = 0
  const reader = c.req.raw.body?.getReader()
  try {
    // A little more than the limit is read and thrown away: a client must have sent its body to read the answer.
    for (let piece = await reader?.read(); piece?.value; piece = await reader?.read()) {
      length += piece.value.length
      if (length > 4 * maxBytes) throw tooLarge
      if (length > maxBytes) pieces.length = 0
      else pieces.push(piece.value)
    }
  } catch (error) {
    if (CocoopError.is(error)) throw error
    throw new CocoopError('bad_request', `the body ended early: ${messageOf(error)}`, { cause: error })
  }
  if (length > maxBytes) throw tooLarge
  const body = new Uint8Array(length)
  let start = 0
  for (const piece of pieces) {
    body.set(piece, start)
    start += piece.length
  }
  return body
}

/** The media type alone, in lower case; empty where there is none. */
export function mediaType(c: Context<Env>): string {
  return (c.req.header('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
}
