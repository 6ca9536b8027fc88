/** Runs an example of the core, natively on one thread and as the WASM module's code runs in Node.js; it prints lines of JSON. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import * as engine from '../../scripts/wasm.mjs'

const root = resolve(import.meta.dirname, '../..')
const target = resolve(root, process.env.CARGO_TARGET_DIR ?? 'target')

/** What the example `name` of crates/core prints: first natively, then in WASM. */
export function runExample(name) {
  const example = ['--quiet', '-p', 'cocoop-core', '--example', name]
  const native = cargo(['run', '--release', ...example], { RAYON_NUM_THREADS: '1' })
  return [...native, ...inWasm(name, example)].map((line) => JSON.parse(line))
}

function inWasm(name, example) {
  const wasm = [
    ...['--no-default-features', '--target', 'wasm32-unknown-unknown'],
    ...['--profile', engine.profile, '--target-dir', join(target, 'relaxed')],
  ]
  cargo(['build', ...example, ...wasm], engine.environment('relaxed'))
  const file = join(target, `relaxed/wasm32-unknown-unknown/${engine.profile}/examples/${name}.wasm`)
  const lines = []
  const instance = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)), {
    host: {
      milliseconds: () => performance.now(),
      print: (text, len) => lines.push(Buffer.from(instance.exports.memory.buffer, text, len).toString()),
    },
  })
  instance.exports.main(0, 0)
  return lines
}

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
