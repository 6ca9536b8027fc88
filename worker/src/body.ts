/** The three forms of a classification's body: the image itself, multipart/form-data, JSON with base64. */
import { CocoopError, check, messageOf } from 'cocoop'
import type { Context } from 'hono'
import { z } from 'zod'
import { type Env, mediaType, readBody } from './http.ts'

/** More parts than this are not a form that anyone sends; they are refused before they are parsed. */
const MAX_PARTS = 512

/** What a body may say besides the image; the same names as in the query. */
export interface RawFields {
  bundle?: unknown
  top_k?: unknown
  classnames?: unknown
}
export interface ClassifyBody {
  image: Uint8Array
  fields: RawFields
}

const JsonBody = z.strictObject({
  image: z.string(),
  bundle: z.unknown().optional(),
  top_k: z.unknown().optional(),
  classnames: z.unknown().optional(),
})

/** @throws CocoopError `bad_request`, `too_large`, `unsupported_media` */
export async function readClassifyBody(c: Context<Env>): Promise<ClassifyBody> {
  const type = mediaType(c)
  const read = READERS[type] ?? (type.startsWith('image/') ? raw : undefined)
  if (!read) {
    throw new CocoopError(
      'unsupported_media',
      `content-type: expected image/*, application/octet-stream, multipart/form-data or application/json, got ${type || 'none'}`,
    )
  }
  const body = await read(await readBody(c, c.var.maxBodyBytes), c.req.header('content-type') ?? '')
  if (body.image.length === 0) throw new CocoopError('bad_request', 'the image is empty')
  return body
}

type Reader = (bytes: Uint8Array<ArrayBuffer>, contentType: string) => ClassifyBody | Promise<ClassifyBody>

const raw: Reader = (image) => ({ image, fields: {} })

const json: Reader = (bytes) => {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new CocoopError('bad_request', `body: not JSON: ${messageOf(cause)}`, { cause })
  }
  const { image, ...fields } = check(JsonBody, value, 'body', 'bad_request')
  return { image: decodeBase64(image), fields }
}

const multipart: Reader = async (bytes, contentType) => {
  const boundary = /boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType)
  const delimiter = `--${boundary?.[1] ?? boundary?.[2] ?? ''}`
  if (delimiter === '--') throw new CocoopError('bad_request', 'content-type: multipart/form-data without a boundary')
  if (new TextDecoder('latin1').decode(bytes).split(delimiter, MAX_PARTS + 3).length > MAX_PARTS + 2) {
    throw new CocoopError('bad_request', `body: more than ${MAX_PARTS} parts`)
  }
  let form: FormData
  try {
    form = await new Response(bytes, { headers: { 'content-type': contentType } }).formData()
  } catch (cause) {
    throw new CocoopError('bad_request', `body: not multipart/form-data: ${messageOf(cause)}`, { cause })
  }
  const fields: RawFields = {}
  for (const name of new Set(form.keys())) {
    const values = form.getAll(name)
    if (name === 'image') continue
    if (!isField(name)) throw new CocoopError('bad_request', `body: unknown field \`${name}\``)
    if (name !== 'classnames' && values.length > 1)
      throw new CocoopError('bad_request', `body: field \`${name}\` is given twice`)
    fields[name] = values.length > 1 ? values : values[0]
  }
  const images = form.getAll('image')
  const [image] = images
  if (images.length !== 1 || image === undefined || typeof image === 'string') {
    throw new CocoopError('bad_request', 'body: expected one file in the field `image`')
  }
  return { image: new Uint8Array(await image.arrayBuffer()), fields }
}

const READERS: Partial<Record<string, Reader>> = {
  'application/octet-stream': raw,
  'application/json': json,
  'multipart/form-data': multipart,
}

function isField(name: string): name is keyof RawFields {
  return name === 'bundle' || name === 'top_k' || name === 'classnames'
}

/** Base64, also as a `data:` address, with or without padding; white space is not ignored. */
function decodeBase64(text: string): Uint8Array {
  const data = /^data:[\w/+.-]+;base64,/.exec(text)
  const digits = data ? text.slice(data[0].length) : text
  try {
    if (/\s/.test(digits)) throw new Error('white space')
    return Uint8Array.from(atob(digits), (char) => char.charCodeAt(0))
  } catch (cause) {
    throw new CocoopError('bad_request', 'body: image: not base64', { cause })
  }
}
