/** What `wrangler deploy` would send: nothing of Node.js, nothing of the addon, both WASM modules, far below the limit. */
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'

const ROOT = join(import.meta.dirname, '../..')
const MAX_BYTES = 8 * 1024 * 1024 // the platform takes 64 MiB; more than this would be a mistake
let out: string
let script: string

beforeAll(async () => {
  out = await mkdtemp(join(tmpdir(), 'cocoop-worker-'))
  const wrangler = join(dirname(createRequire(import.meta.url).resolve('wrangler/package.json')), 'bin/wrangler.js')
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' }
  await promisify(execFile)(process.execPath, [wrangler, 'deploy', '--dry-run', '--outdir', out], { cwd: ROOT, env })
  script = await readFile(join(out, 'index.js'), 'utf8')
}, 120_000)
afterAll(() => rm(out, { recursive: true, force: true }))

it('imports the two modules and nothing else', () => {
  const imported = [...script.matchAll(/^import .*?from\s*["']([^"']+)["']/gm)].map((match) => match[1] as string)
  expect(imported.map((path) => path.replace(/^.*-/, '')).sort()).toEqual(['relaxed.wasm', 'simd.wasm'])
  const code = script.replaceAll(/^\s*\/\/.*$/gm, '')
  const foreign = [...code.matchAll(/["']node:.{20}|\bimport\(.{20}|\brequire\(.{20}|cocoop-napi|process\.env/g)]
  expect(foreign.map(String)).toEqual([])
})

it('is small', async () => {
  const files = (await readdir(out)).filter((name) => /\.(js|wasm)$/.test(name))
  const sizes = await Promise.all(files.map(async (name) => (await stat(join(out, name))).size))
  expect(files.length).toBe(3)
  expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(MAX_BYTES)
})
