/**
 * `npm run ready`: what must hold before a commit. Formats, lints, types, the documents' links, then all tests.
 * `npm run format` (--fix) rewrites the formats and stops there.
 */
import { spawnSync } from 'node:child_process'
import { join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
const bin = (name) => join(root, 'node_modules', '.bin', name)
const fix = process.argv.includes('--fix')

const env = { ...process.env }
// Debian's Rust has neither formatter nor linter: rustup's own default toolchain has.
if (env.RUSTUP_TOOLCHAIN === 'debian') delete env.RUSTUP_TOOLCHAIN
const simd = { RUSTFLAGS: '-C target-feature=+simd128' }
const clippy = ['clippy', '--workspace', '--all-targets', '--', '-D', 'warnings']

const steps = fix
  ? [
      ['rustfmt', 'cargo', ['fmt', '--all']],
      ['biome', bin('biome'), ['check', '--write', '.']],
    ]
  : [
      ['rustfmt', 'cargo', ['fmt', '--all', '--check']],
      ['clippy', 'cargo', clippy],
      [
        'clippy, wasm32',
        'cargo',
        ['clippy', '-p', 'cocoop-wasm', '--target', 'wasm32-unknown-unknown', '--', '-D', 'warnings'],
        simd,
      ],
      ['biome', bin('biome'), ['ci', '.']],
      ['links', process.execPath, ['scripts/links.mjs']],
      ['build', process.execPath, ['scripts/build.mjs']],
      ...['ts', 'trainer', 'worker', 'test'].map((name) => [`types, ${name}`, bin('tsc'), ['-p', name]]),
      ['tests', process.execPath, ['scripts/test.mjs']],
    ]

const failed = []
for (const [name, command, args, more = {}] of steps) {
  console.error(`\n=== ${name}`)
  const started = performance.now()
  const { status, error } = spawnSync(command, args, { cwd: root, env: { ...env, ...more }, stdio: 'inherit' })
  if (error) console.error(error.message)
  if (status !== 0) failed.push(name)
  console.error(`${name}: ${status === 0 ? 'ok' : 'FAILED'} (${((performance.now() - started) / 1000).toFixed(1)} s)`)
}
console.error(failed.length === 0 ? '\nready' : `\nnot ready: ${failed.join(', ')}`)
process.exit(failed.length === 0 ? 0 : 1)
