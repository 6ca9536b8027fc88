/**
 * The unit tests of cocoop-base, its kernels' above all, and of cocoop-core, as WebAssembly with and without relaxed
 * SIMD: natively those versions are not even compiled. wasm32-unknown-unknown has neither arguments nor output, so all
 * tests run, and one that fails is a trap whose stack names it.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'node:test'

const root = resolve(import.meta.dirname, '../../..')
const target = resolve(root, process.env.CARGO_TARGET_DIR ?? 'target')
const build = '-p cocoop-base -p cocoop-core --lib --no-default-features --no-run --target wasm32-unknown-unknown'

for (const [name, features] of [
  ['simd', '+simd128'],
  ['relaxed', '+simd128,+relaxed-simd'],
]) {
  test(`unit tests in WASM, ${name}`, { timeout: 900_000 }, () => {
    const args = ['test', ...build.split(' '), '--target-dir', join(target, `test-${name}`), '--message-format=json']
    const env = { ...process.env, RUSTFLAGS: `-C target-feature=${features}` }
    const cargo = spawnSync('cargo', args, { cwd: root, env, encoding: 'utf8', maxBuffer: 1 << 28 })
    assert.equal(cargo.status, 0, cargo.stderr)
    const messages = cargo.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const executables = messages.filter(({ profile, executable }) => profile?.test && executable)
    assert.equal(executables.length, 2)
    for (const { executable } of executables) {
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(executable)), {})
      try {
        assert.equal(exports.main(0, 0), 0)
      } catch (error) {
        // Frames of our own functions, without hashes: the failed test is the outermost.
        const frames = [...String(error.stack).matchAll(/cocoop_(?:base|core)::[\w:]+/g)].map(([frame]) => frame)
        assert.fail(`${error.message} in ${frames.join(' < ') || error.stack}`)
      }
    }
  })
}
