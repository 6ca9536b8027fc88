/** The application on Node.js, as a process: the addon and a folder behind the same routes. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FsStore, nativeEngine, publishBundle, publishPack, wasmEngine } from 'cocoop/node'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Kind, makeBundles, makePack, type Picture, readModel, readPictures } from '../support/material.ts'

const PROGRAM = join(import.meta.dirname, '../../worker/dist/node.js')
let folder: string
let bundles: Record<Kind, Uint8Array>
let picture: Picture
let server: ChildProcess
let url: string

function start(...args: string[]) {
  return spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ADMIN_KEY: 'key' },
  })
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cocoop-serve-'))
  bundles = await makeBundles()
  picture = (await readPictures())[0] as Picture
  const store = new FsStore(folder)
  await publishPack(store, await makePack(join(folder, 'made'), 32))
  const engine = await wasmEngine()
  for (const kind of ['zero-shot', 'coop', 'cocoop'] as const) await publishBundle(store, bundles[kind], { engine })
  server = start('--store', folder, '--port', '0')
  const [line] = await once(server.stdout as NodeJS.ReadableStream, 'data')
  url = /at (http:\S+)/.exec(String(line))?.[1] as string
}, 120_000)
afterAll(async () => {
  server.kill('SIGKILL')
  await rm(folder, { recursive: true, force: true })
})

const post = (path: string, body: BodyInit, type = 'image/png') =>
  fetch(`${url}${path}`, { method: 'POST', body, headers: { 'content-type': type } })
const bytes = () => picture.bytes as Uint8Array<ArrayBuffer>

it('answers as the addon does', async () => {
  using model = await (await nativeEngine()).loadModel(await readModel())
  for (const kind of ['zero-shot', 'coop', 'cocoop'] as const) {
    using classifier = await model.classifier(bundles[kind])
    const { probs } = await classifier.classify(picture.bytes)
    const response = await post(`/classify?bundle=${kind}&top_k=1000`, bytes())
    expect(response.status).toBe(200)
    const { predictions } = (await response.json()) as { predictions: { index: number; prob: number }[] }
    expect(predictions.length).toBe(probs.length)
    for (const { index, prob } of predictions) expect(prob).toBeCloseTo(probs[index] as number, 6)
  }
  expect((await fetch(`${url}/health/ready`)).status).toBe(200)
})

it('publishes with the key, and refuses without', async () => {
  const put = (key: string) =>
    fetch(`${url}/bundles/extra`, {
      method: 'PUT',
      body: bundles.coop as Uint8Array<ArrayBuffer>,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/octet-stream' },
    })
  expect((await put('wrong')).status).toBe(401)
  expect((await put('key')).status).toBe(200)
  expect((await post('/classify?bundle=extra', bytes())).status).toBe(200)
})

it('refuses what is too large, with and without a length', async () => {
  const large = new Uint8Array(11 * 1024 * 1024)
  const stream = () =>
    new ReadableStream({
      start: (c) => {
        c.enqueue(large)
        c.close()
      },
    })
  expect((await post('/classify?bundle=coop', large)).status).toBe(413)
  const response = await fetch(`${url}/classify?bundle=coop`, {
    method: 'POST',
    body: stream(),
    headers: { 'content-type': 'image/png' },
    duplex: 'half',
  } as RequestInit)
  expect(response.status).toBe(413)
  expect(await response.json()).toMatchObject({ code: 'too_large' })
})

it('turns away the many for whom there is no room, and serves the rest', async () => {
  const answers = await Promise.all(Array.from({ length: 60 }, () => post('/classify?bundle=cocoop', bytes())))
  const count = (status: number) => answers.filter((answer) => answer.status === status).length
  expect(count(200)).toBeGreaterThanOrEqual(17)
  expect(count(200) + count(503)).toBe(60)
  const refused = answers.find((answer) => answer.status === 503)
  if (refused) expect(await refused.json()).toMatchObject({ code: 'overloaded' })
  expect((await post('/classify?bundle=cocoop', bytes())).status).toBe(200)
})

it('outlives a client that leaves in the middle of its body', async () => {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  await once(socket, 'connect')
  socket.write(
    'POST /classify?bundle=coop HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 1000\r\n\r\nabc',
  )
  socket.destroy()
  expect((await post('/classify?bundle=coop', bytes())).status).toBe(200)
})

it('ends with 0 on Ctrl-C, also while a client keeps its connection', async () => {
  const other = start('--store', folder, '--port', '0')
  const [line] = await once(other.stdout as NodeJS.ReadableStream, 'data')
  const address = /at (http:\S+)/.exec(String(line))?.[1] as string
  expect((await fetch(`${address}/health/live`)).status).toBe(200)
  other.kill('SIGINT')
  expect(await once(other, 'exit')).toEqual([0, null])
})

it.each([
  ['an unknown flag', ['--store', 'x', '--prot', '1']],
  ['no store', []],
  ['a port that is none', ['--store', 'x', '--port', '70000']],
])('stops for %s', async (_, args) => {
  const failed = start(...args)
  let text = ''
  failed.stderr?.on('data', (data) => (text += data))
  expect(await once(failed, 'close')).toEqual([2, null])
  expect(text).toMatch(/^serve: /)
})
