/** A server that speaks the Hugging Face hub's protocol for one repository, and fails in the ways that networks do. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What goes wrong with the next requests for a path that holds `path`; `times` of them. */
export interface Fault {
  path: string
  times: number
  /** Answers with this status instead. */
  status?: number
  /** Cuts the connection after so many bytes of the body. */
  cutAfter?: number
  /** Sends other bytes of the same length. */
  damage?: boolean
  /** Sends the whole file, whatever range was asked for. */
  ignoreRange?: boolean
}

export interface HubServer extends AsyncDisposable {
  url: string
  commit: string
  /** Method, path without query, and range of every request. */
  requests: { path: string; range: string | undefined; authorization: string | undefined }[]
  faults: Fault[]
  /** Bytes of bodies that were sent. */
  sent: number
  /** Milliseconds between pieces of a body. */
  pause: number
}

export const COMMIT = '0123456789abcdef0123456789abcdef01234567'
const PIECE = 64 * 1024

/** Serves `files` (by name) as the repository `repo`, those over 1 kB as large files. With `token` it asks for that. */
export async function startHub(repo: string, files: Record<string, Uint8Array>, token?: string): Promise<HubServer> {
  const server = createServer((request, response) => void answer(request, response))
  const hub: HubServer = {
    url: '',
    commit: COMMIT,
    requests: [],
    faults: [],
    sent: 0,
    pause: 0,
    [Symbol.asyncDispose]: () => close(server),
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? '/', hub.url)
    const { range, authorization } = request.headers
    hub.requests.push({ path: pathname, range, authorization })
    const json = (status: number, value: unknown) =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    const fault = hub.faults.find(({ path, times }) => times > 0 && pathname.includes(path))
    if (fault !== undefined) fault.times -= 1
    if (fault?.status !== undefined) return json(fault.status, { error: 'as the test asked' })
    // A signed address of the store behind the hub needs no token.
    const isStore = pathname.startsWith('/store/')
    if (token !== undefined && !isStore && authorization !== `Bearer ${token}`) return json(401, { error: 'no access' })
    if (pathname.startsWith(`/api/models/${repo}/revision/`)) {
      const revision = pathname.split('/').at(-1)
      if (revision !== 'main' && revision !== COMMIT) return json(404, { error: 'no such revision' })
      return json(200, { _id: '1', id: repo, sha: COMMIT, tags: ['license:mit'], lastModified: '2026-01-01T00:00:00Z' })
    }
    if (pathname === `/api/models/${repo}/tree/${COMMIT}`) return json(200, Object.entries(files).map(entry))
    const [, name] = new RegExp(`^(?:/store|/${repo}/resolve)/${COMMIT}/(.+)$`).exec(pathname) ?? []
    const body = name === undefined ? undefined : files[name]
    if (name === undefined || body === undefined) return json(404, { error: 'not found' })
    if (!isStore && body.length > 1000) {
      response.writeHead(302, { location: `/store/${COMMIT}/${name}`, 'x-linked-size': body.length }).end()
      return
    }
    await send(response, body, range, fault)
  }

  async function send(response: ServerResponse, body: Uint8Array, range: string | undefined, fault?: Fault) {
    const from = fault?.ignoreRange ? 0 : Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0)
    if (from >= body.length) return void response.writeHead(416).end()
    const part = fault?.damage ? body.map((byte) => byte ^ 1) : body
    response.writeHead(from > 0 ? 206 : 200, {
      etag: `"${sha256(body)}"`,
      'content-length': body.length - from,
      ...(from > 0 ? { 'content-range': `bytes ${from}-${body.length - 1}/${body.length}` } : {}),
    })
    const end = Math.min(body.length, from + (fault?.cutAfter ?? body.length))
    const closed = once(response, 'close')
    for (let at = from; at < end; at += PIECE) {
      const piece = part.subarray(at, Math.min(end, at + PIECE))
      if (response.destroyed) return
      if (!response.write(piece)) await Promise.race([once(response, 'drain'), closed])
      hub.sent += piece.length
      if (hub.pause > 0) await new Promise((done) => setTimeout(done, hub.pause))
    }
    if (end < body.length) response.destroy()
    else response.end()
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  hub.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return hub
}

function entry([path, bytes]: [string, Uint8Array]) {
  const lfs = { oid: sha256(bytes), size: bytes.length, pointerSize: 130 }
  return { type: 'file', path, size: bytes.length, oid: gitBlob(bytes), ...(bytes.length > 1000 ? { lfs } : {}) }
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Git's name for a file's content. */
function gitBlob(bytes: Uint8Array): string {
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
}

function close(server: Server): Promise<void> {
  server.closeAllConnections()
  return new Promise((done) => server.close(() => done()))
}
