/**
 * Latency of POST /classify over the loopback, one request after another: in workerd (`wrangler dev`, WASM, one thread) and on
 * Node.js (`npm run serve`, the addon, all cores), for each method over the 20 classes of emoji-backdrops, the image a 640x427 JPEG.
 * `spread` is (largest - smallest) / median over the middle half of the answers. `npm run bench -- serve [--json] [--requests 300]`
 */
import { execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs, promisify } from 'node:util'

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, requests: { type: 'string', default: '300' } },
})
const root = resolve(import.meta.dirname, '..')
const requests = Number(values.requests)
const WARM_UP = 20
const MAX_SECONDS = 60 // for each row: a slow machine gives fewer requests, not a longer bench
const METHODS = ['zero-shot', 'coop', 'cocoop']
const image = readFileSync(join(root, 'fixtures/preprocess/in/jpeg_640x427_q90.jpg'))

const work = mkdtempSync(join(tmpdir(), 'cocoop-bench-'))
const servers = []
try {
  const config = join(work, 'wrangler.toml')
  const main = JSON.stringify(join(root, 'worker/src/index.ts'))
  writeFileSync(config, readFileSync(join(root, 'wrangler.toml'), 'utf8').replace(/^main = .*$/m, `main = ${main}`))
  const store = join(work, 'store')
  mkdirSync(store)
  for (const method of METHODS) {
    const bundle = await makeBundle(method)
    await cli('publish', bundle, '--name', method, '--store', store)
    await cli('publish', bundle, '--name', method, '--wrangler', config)
  }
  const wrangler = join(dirname(createRequire(import.meta.url).resolve('wrangler/package.json')), 'bin/wrangler.js')
  const flags = [
    '--local',
    '--ip',
    '127.0.0.1',
    '--inspector-port',
    '0',
    '--show-interactive-dev-session=false',
    '--log-level',
    'error',
  ]
  const hosts = {
    workerd: await start((port) => [wrangler, 'dev', '--config', config, ...flags, '--port', port]),
    'Node.js': await start((port) => [join(root, 'worker/dist/node.js'), '--store', store, '--port', port]),
  }
  const rows = []
  for (const [host, url] of Object.entries(hosts)) {
    rows.push(...report(`${host}, an answer without an image`, await measure(`${url}/health/live`)))
    for (const method of METHODS) {
      rows.push(
        ...report(
          `${host}, ${method}`,
          await measure(`${url}/classify?bundle=${method}`, {
            method: 'POST',
            body: image,
            headers: { 'content-type': 'image/jpeg' },
          }),
        ),
      )
    }
  }
  if (values.json) console.log(JSON.stringify(rows, null, 2))
} finally {
  for (const server of servers) server.kill('SIGINT')
  await Promise.all(servers.map((server) => server.exitCode ?? new Promise((done) => server.once('exit', done))))
  rmSync(work, { recursive: true, force: true })
}

/** A bundle of a method; how well it learned does not matter here. */
async function makeBundle(method) {
  if (method === 'zero-shot') {
    const out = join(work, 'zero-shot.safetensors')
    await cli(
      'zero-shot',
      '--data',
      'emoji-backdrops',
      '--template',
      'a photo of a thing on a {} background.',
      '--out',
      out,
    )
    return out
  }
  const out = join(work, method)
  await cli(
    'train',
    '--data',
    'emoji-backdrops',
    '--method',
    method,
    '--shots',
    '1',
    '--epochs',
    '1',
    '--batch-size',
    '4',
    '--ctx-init',
    'a photo of a',
    '--out',
    out,
  )
  return out
}

async function cli(...args) {
  await promisify(execFile)(process.execPath, [join(root, 'trainer/dist/cli.js'), ...args, '--quiet'], { cwd: work })
}

/** Starts a server on a free port; resolves with its address when it is ready to classify. */
async function start(argsOf) {
  const port = await freePort()
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' }
  const server = spawn(process.execPath, argsOf(String(port)), {
    cwd: work,
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let complaints = ''
  server.stderr.on('data', (text) => {
    complaints += text
  })
  servers.push(server)
  const url = `http://127.0.0.1:${port}`
  for (let i = 0; i < 120; i += 1) {
    if (server.exitCode !== null) throw new Error(`the server ended with ${server.exitCode}\n${complaints}`)
    const response = await fetch(`${url}/health/ready`).catch(() => undefined)
    if (response?.ok) return url
    await sleep(500)
  }
  throw new Error(`the server is not ready after a minute\n${complaints}`)
}

/** Sorted times of the answers, in milliseconds. */
async function measure(url, init) {
  const times = []
  const end = performance.now() + MAX_SECONDS * 1000
  for (let i = -WARM_UP; i < requests && performance.now() < end; i += 1) {
    const from = performance.now()
    const response = await fetch(url, init)
    const text = await response.text()
    if (!response.ok) throw new Error(`${url}: ${response.status} ${text}`)
    if (i >= 0) times.push(performance.now() - from)
  }
  return times.sort((a, b) => a - b)
}

function report(name, times) {
  const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))]
  const [p50, p99] = [at(0.5), at(0.99)]
  if (!values.json)
    console.log(
      `${name.padEnd(40)} p50 ${p50.toFixed(1).padStart(7)} ms   p99 ${p99.toFixed(1).padStart(7)} ms   (${times.length} requests)`,
    )
  const row = (name, ours) => ({
    name,
    peer: null,
    ours,
    theirs: null,
    unit: 'ms',
    ratio: null,
    goal: null,
    spread: (at(0.75) - at(0.25)) / p50,
  })
  return [row(`${name}, p50`, p50), row(`${name}, p99`, p99)]
}

async function freePort() {
  const server = createServer()
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address()
  await new Promise((done) => server.close(done))
  return port
}
