import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { COMMIT, type HubServer, sha256, startHub } from '../../../test/support/hub-server.ts'
import { findModel, readModel } from '../models.ts'
import { Terminal } from '../terminal.ts'
import { cachedModel, cachedModels, cacheFolder, nameInCache, parseRef } from './cache.ts'
import { chooseFiles } from './files.ts'
import { pull } from './pull.ts'

const REPO = 'someone/tiny-clip'
const CONFIG = Buffer.from('{"model_type": "clip"}')
const WEIGHTS = Buffer.from(Uint8Array.from({ length: 700_000 }, (_, i) => (i * 7919) >> 5))
const FILES = {
  'config.json': CONFIG,
  'model.safetensors': WEIGHTS,
  'pytorch_model.bin': WEIGHTS.subarray(5),
  'README.md': Buffer.from('read me'),
}

let hub: HubServer
let home: string
let lines: string[]
let controller: AbortController

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'cocoop-hub-'))
  hub = await startHub(REPO, FILES)
  lines = []
  controller = new AbortController()
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await hub[Symbol.asyncDispose]()
})

const env = () => ({ HF_ENDPOINT: hub.url, HF_HOME: home })
const cache = () => join(home, 'hub')
const repoFolder = () => join(cache(), 'models--someone--tiny-clip')
function pullIt(more: NodeJS.ProcessEnv = {}, target = REPO) {
  const terminal = new Terminal({ write: (text) => lines.push(text) }, false)
  return pull(parseRef(target)!, { env: { ...env(), ...more }, terminal, signal: controller.signal, baseMs: 1 })
}
const requests = (path: string) => hub.requests.filter((request) => request.path.includes(path))

describe('pull', () => {
  test('brings safetensors and config, checked, in the layout of the hub’s own cache', async () => {
    const pulled = await pullIt()
    expect(pulled).toEqual({
      repo: REPO,
      revision: 'main',
      commit: COMMIT,
      folder: join(repoFolder(), 'snapshots', COMMIT),
      files: [
        { name: 'config.json', bytes: CONFIG.length, sha256: null },
        { name: 'model.safetensors', bytes: WEIGHTS.length, sha256: sha256(WEIGHTS) },
      ],
      bytes: CONFIG.length + WEIGHTS.length,
      downloaded: CONFIG.length + WEIGHTS.length,
      licence: 'mit',
    })
    expect(readFileSync(join(pulled.folder, 'model.safetensors'))).toEqual(WEIGHTS)
    expect(readFileSync(join(repoFolder(), 'refs/main'), 'utf8')).toBe(COMMIT)
    expect(readdirSync(join(repoFolder(), 'blobs')).sort()).toContain(sha256(WEIGHTS))
    expect(readdirSync(repoFolder()).sort()).toEqual(['blobs', 'refs', 'snapshots'])
    expect(requests('pytorch_model')).toEqual([])
    // The second time nothing but names comes over the network.
    hub.sent = 0
    expect(await pullIt()).toMatchObject({ downloaded: 0, folder: pulled.folder })
    expect(hub.sent).toBe(0)
  })

  test('--model opens what was pulled, by name and by commit, and says how to get what was not', async () => {
    const { folder } = await pullIt()
    vi.stubEnv('HF_HOME', home)
    for (const name of [REPO, `hub:${REPO}`, `${REPO}@${COMMIT}`]) expect(findModel(name)).toBe(folder)
    expect(await readModel(REPO)).toMatchObject({ id: REPO, folder, config: CONFIG.toString() })
    expect(() => findModel('someone/else')).toThrow(
      expect.objectContaining({ code: 'not_found', hint: expect.stringContaining('models pull someone/else') }),
    )
    expect(cachedModels(cache())).toEqual([
      { repo: REPO, commit: COMMIT, refs: ['main'], folder, bytes: CONFIG.length + WEIGHTS.length },
    ])
    expect(nameInCache(folder, cache())).toBe(REPO)
    // A snapshot whose blob was removed is not a model.
    rmSync(join(repoFolder(), 'blobs', sha256(WEIGHTS)))
    expect(cachedModel(parseRef(REPO)!, cache())).toBeUndefined()
  })

  test('a connection that breaks is taken up where it broke, as often as something comes', async () => {
    hub.faults.push({ path: '/store/', times: 7, cutAfter: 90_000 })
    await pullIt()
    const starts = requests('/store/').map(({ range }) => Number(range?.slice(6, -1) ?? 0))
    expect(starts).toHaveLength(8)
    expect(starts[0]).toBe(0)
    // Each goes on behind what the one before brought, of which the system may have lost the last piece.
    for (const [i, start] of starts.slice(1).entries()) {
      expect(start).toBeGreaterThan(starts[i]!)
      expect(start).toBeLessThanOrEqual((i + 1) * 90_000)
    }
  })

  test('what is stopped stays and is used by the next process', async () => {
    hub.pause = 5
    const ended = pullIt()
    const beside = join(repoFolder(), 'blobs', `${sha256(WEIGHTS)}.incomplete`)
    await vi.waitFor(() => expect(statSync(beside).size).toBeGreaterThan(100_000), { timeout: 10_000, interval: 2 })
    controller.abort()
    await expect(ended).rejects.toMatchObject({ name: 'AbortError' })
    const { size } = statSync(beside)
    expect(existsSync(join(repoFolder(), 'lock'))).toBe(false)
    hub.pause = 0
    controller = new AbortController()
    const pulled = await pullIt()
    expect(pulled.downloaded).toBe(WEIGHTS.length - size)
    expect(requests('/store/').at(-1)?.range).toBe(`bytes=${size}-`)
    expect(lines.join('')).toContain('model.safetensors: going on at')
    expect(readFileSync(join(pulled.folder, 'model.safetensors'))).toEqual(WEIGHTS)
  })

  test('a server that knows no ranges sends the file again', async () => {
    hub.faults.push({ path: '/store/', times: 1, cutAfter: 300_000 }, { path: '/store/', times: 1, ignoreRange: true })
    const { folder } = await pullIt()
    expect(readFileSync(join(folder, 'model.safetensors'))).toEqual(WEIGHTS)
  })

  test.each([503, 500, 429, 408])('status %i is tried again, everywhere', async (status) => {
    for (const path of ['/revision/', '/tree/', '/resolve/', '/store/']) hub.faults.push({ path, times: 2, status })
    await pullIt()
    expect(requests('/tree/')).toHaveLength(3)
  })

  test('a hub that stays away is given up, and named', async () => {
    hub.faults.push({ path: '/store/', times: 99, status: 502 })
    await expect(pullIt()).rejects.toMatchObject({
      code: 'hub_unavailable',
      message: expect.stringMatching(/model\.safetensors: status 502, 5 times in a row/),
    })
    const { url } = hub
    await hub[Symbol.asyncDispose]()
    await expect(pullIt()).rejects.toMatchObject({ code: 'hub_unavailable', message: expect.stringContaining(url) })
  })

  test('damaged bytes are not kept', async () => {
    hub.faults.push({ path: '/store/', times: 1, damage: true })
    await expect(pullIt()).rejects.toMatchObject({
      code: 'hash_mismatch',
      message: expect.stringContaining(`expected ${sha256(WEIGHTS)}`),
    })
    expect(cachedModel(parseRef(REPO)!, cache())).toBeUndefined()
    expect(readdirSync(join(repoFolder(), 'blobs'))).toHaveLength(1)
    expect((await pullIt()).downloaded).toBe(WEIGHTS.length)
    // Small files are checked too, by git's hash.
    rmSync(home, { recursive: true })
    hub.faults.push({ path: 'config.json', times: 1, damage: true })
    await expect(pullIt()).rejects.toMatchObject({ code: 'hash_mismatch' })
  })

  test('what is not there, or not allowed, is said at once', async () => {
    await expect(pullIt({}, 'someone/else')).rejects.toMatchObject({ code: 'not_found' })
    await expect(pullIt({}, `${REPO}@nothing`)).rejects.toMatchObject({ code: 'not_found' })
    expect(hub.requests).toHaveLength(2)
    await hub[Symbol.asyncDispose]()
    hub = await startHub(REPO, FILES, 'hf_secret')
    await expect(pullIt()).rejects.toMatchObject({
      code: 'hub_refused',
      hint: expect.stringContaining('HF_TOKEN'),
    })
    await expect(pullIt({ HF_TOKEN: 'wrong' })).rejects.toMatchObject({ code: 'usage' })
    await pullIt({ HF_TOKEN: 'hf_secret' })
  })

  test('HF_HUB_OFFLINE asks nobody', async () => {
    await expect(pullIt({ HF_HUB_OFFLINE: '1' })).rejects.toMatchObject({ code: 'not_found' })
    await pullIt()
    hub.requests.length = 0
    expect(await pullIt({ HF_HUB_OFFLINE: '1' })).toMatchObject({ folder: join(repoFolder(), 'snapshots', COMMIT) })
    expect(hub.requests).toEqual([])
  })

  test('a repository that holds no CLIP is refused before weights are fetched', async () => {
    await hub[Symbol.asyncDispose]()
    hub = await startHub(REPO, { 'config.json': Buffer.from('{"model_type": "bert"}'), 'model.safetensors': WEIGHTS })
    await expect(pullIt()).rejects.toMatchObject({ code: 'bad_model' })
    expect(requests('model.safetensors')).toEqual([])
  })

  test('two pulls of one repository do not meet', async () => {
    hub.pause = 5
    const first = pullIt()
    await vi.waitFor(() => expect(existsSync(join(repoFolder(), 'lock'))).toBe(true))
    writeFileSync(join(repoFolder(), 'lock'), `${process.ppid} ${(await import('node:os')).hostname()}\n`)
    await expect(pullIt()).rejects.toMatchObject({ code: 'locked' })
    hub.pause = 0
    await first
  })
})

test('as a command: stopped by Ctrl-C, then finished', async () => {
  const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))
  const start = (...args: string[]) => {
    const child = spawn(process.execPath, [CLI, 'models', ...args], { cwd: home, env: { ...process.env, ...env() } })
    let out = ''
    let err = ''
    child.stdout.on('data', (text) => (out += text))
    child.stderr.on('data', (text) => (err += text))
    const end = once(child, 'close').then(([code]) => ({ code: code as number, out: () => out, err: () => err }))
    return { child, end }
  }
  hub.pause = 30
  const stopped = start('pull', REPO)
  await vi.waitFor(() => expect(hub.sent).toBeGreaterThan(100_000), { timeout: 30_000, interval: 5 })
  stopped.child.kill('SIGINT')
  const first = await stopped.end
  expect(first.err()).toMatch(/error: stopped; what has come stays\ncode: +cancelled\ndo: .*goes on from there/)
  expect(first.code).toBe(130)
  hub.pause = 0
  const second = await start('pull', REPO, '--json').end
  expect(second.code).toBe(0)
  expect(JSON.parse(second.out())).toMatchObject({ repo: REPO, commit: COMMIT, bytes: WEIGHTS.length + CONFIG.length })
  const list = await start('list').end
  expect(list.out()).toMatch(/^someone\/tiny-clip +hub +700\.0 kB/m)
  expect(list.out()).toMatch(/^openai\/clip-vit-base-patch32 +ViT-B\/32 +151 M/m)
  const usage = await start('pull').end
  expect(usage.code).toBe(2)
}, 90_000)

test.each([
  ['openai/clip-vit-base-patch32', 'openai/clip-vit-base-patch32', 'main'],
  ['hub:a/b@refs/pr/1', 'a/b', 'refs/pr/1'],
  ['timm/resnet50_clip.openai@v1', 'timm/resnet50_clip.openai', 'v1'],
])('%s is a repository', (text, repo, revision) => expect(parseRef(text)).toEqual({ repo, revision }))
test.each(['emoji-clip', './a/b', '../a', '/a/b', 'a/b/c', 'a/..', 'a/b@../x', 'a--b/c', 'a/b@x//y', ''])(
  '%j is none',
  (text) => expect(parseRef(text)).toBeUndefined(),
)

test('of several sets of weights one is taken, safetensors first', () => {
  const [a, b] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
  expect(chooseFiles(['config.json', 'pytorch_model.bin', 'model.safetensors'], true)?.weights).toEqual([
    'model.safetensors',
  ])
  expect(chooseFiles(['config.json', b, a, 'pytorch_model.bin'], true)?.weights).toEqual([a, b])
  expect(chooseFiles(['config.json', a, 'pytorch_model.bin'], true)?.weights).toEqual(['pytorch_model.bin'])
  const timm = ['config.json', 'model.safetensors', 'open_clip_config.json', 'open_clip_model.safetensors']
  expect(chooseFiles(timm, false)).toEqual({
    config: 'open_clip_config.json',
    weights: ['open_clip_model.safetensors'],
  })
  expect(chooseFiles(['config.json', 'open_clip_config.json', 'pytorch_model.bin'], false)).toBeUndefined()
})

test('the cache is where the hub’s libraries have it', () => {
  expect(cacheFolder({ HF_HUB_CACHE: '/c', HF_HOME: '/h' })).toBe('/c')
  expect(cacheFolder({ HF_HOME: '/h' })).toBe('/h/hub')
  expect(cacheFolder({ XDG_CACHE_HOME: '/x' })).toBe('/x/huggingface/hub')
})

test('a cache that was copied without its links is as good', async () => {
  await pullIt()
  cpSync(cache(), join(home, 'copy'), { recursive: true, dereference: true })
  expect(cachedModels(join(home, 'copy'))).toHaveLength(1)
})
