/**
 * Where the time of a forward pass goes, natively and in WASM, on one thread: crates/core/examples/profile.rs says of what.
 * A row is a workload, or one kind of operation in it; there is no peer. `npm run bench -- profile [--json]`
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import * as engine from '../scripts/wasm.mjs'

const root = resolve(import.meta.dirname, '..')
const target = resolve(root, process.env.CARGO_TARGET_DIR ?? 'target')
const example = ['--quiet', '-p', 'cocoop-core', '--example', 'profile']
const wasm = [
  ...['--no-default-features', '--target', 'wasm32-unknown-unknown'],
  ...['--profile', engine.profile, '--target-dir', join(target, 'relaxed')],
]

function cargo(args, env) {
  const { status, error, stdout } = spawnSync('cargo', args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  })
  if (error) console.error(`cargo: ${error.message}`)
  if (status !== 0) process.exit(status ?? 1)
  return stdout.trim().split('\n')
}

async function inWasm() {
  cargo(['build', ...example, ...wasm], engine.environment('relaxed'))
  const module = readFileSync(join(target, `relaxed/wasm32-unknown-unknown/${engine.profile}/examples/profile.wasm`))
  const lines = []
  const { instance } = await WebAssembly.instantiate(module, {
    host: {
      milliseconds: () => performance.now(),
      print: (text, len) => lines.push(Buffer.from(instance.exports.memory.buffer, text, len).toString()),
    },
  })
  instance.exports.main(0, 0)
  return lines
}

const profiles = [...cargo(['run', '--release', ...example], { RAYON_NUM_THREADS: '1' }), ...(await inWasm())].map(
  (line) => JSON.parse(line),
)
if (process.argv.includes('--json')) {
  const row = (name, ours, spread) => {
    return { name, peer: null, ours, theirs: null, unit: 'ms', ratio: null, goal: null, spread }
  }
  const rows = profiles.flatMap(({ name, isa, ms, spread, parts }) => [
    row(`${name}, ${isa}`, ms, spread),
    ...Object.entries(parts).map(([part, ms]) => row(`${name}, ${isa}: ${part}`, ms, null)),
  ])
  console.log(JSON.stringify(rows))
} else {
  for (const { name, isa, ms, spread, parts } of profiles) {
    console.log(`${name}, ${isa}: ${ms.toFixed(1)} ms, spread ${(100 * spread).toFixed(0)} %`)
    for (const [part, own] of Object.entries(parts)) {
      console.log(
        `  ${part.padEnd(12)} ${own.toFixed(2).padStart(9)} ms ${((100 * own) / ms).toFixed(1).padStart(6)} %`,
      )
    }
  }
}
