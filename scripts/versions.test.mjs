import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'node:test'

const root = resolve(import.meta.dirname, '..')
const read = (file) => readFileSync(join(root, file), 'utf8')
const locked = (file, name) => new RegExp(`name = "${name}"\\nversion = "(.+)"`).exec(read(file))?.[1]

test('the wasm-bindgen that is built has the version that crates/wasm is linked with', () => {
  const version = locked('Cargo.lock', 'wasm-bindgen')
  assert.ok(version)
  assert.equal(locked('scripts/wasm-tools/Cargo.lock', 'wasm-bindgen-cli-support'), version)
  assert.equal(locked('scripts/wasm-tools/Cargo.lock', 'wasm-tools'), version)
})

test('every package has the version of the workspace', () => {
  const version = /\[workspace\.package\]\nversion = "(.+)"/.exec(read('Cargo.toml'))?.[1]
  for (const folder of ['.', ...JSON.parse(read('package.json')).workspaces]) {
    const pkg = JSON.parse(read(`${folder}/package.json`))
    assert.equal(pkg.version, version, folder)
    for (const [name, wanted] of Object.entries(pkg.dependencies ?? {})) {
      if (/^cocoop(-|$)/.test(name)) assert.equal(wanted, version, `${folder}: ${name}`)
    }
  }
})

test('the lock file names no registry', () => {
  for (const [path, { resolved }] of Object.entries(JSON.parse(read('package-lock.json')).packages)) {
    assert.ok(resolved === undefined || !/^https?:/.test(resolved), path)
  }
})
