/**
 * Builds what is out of date: the addon, both WASM modules, and the TypeScript packages, in that order.
 * A part is up to date when the hash of everything that goes into it equals the one noted when it was built.
 * Run it by `npm run build`, which sets the tools up first; it prints to standard error.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { doorModule, doorTypes } from './glue.mjs'
import * as wasm from './wasm.mjs'

const root = resolve(import.meta.dirname, '..')
const bin = (name) => join(root, 'node_modules', '.bin', name)
const target = resolve(root, process.env.CARGO_TARGET_DIR ?? 'target')
const notes = join(root, 'target', 'built')

const rust = [
  'Cargo.toml',
  'Cargo.lock',
  ...['base', 'core'].flatMap((name) => [`crates/${name}/Cargo.toml`, `crates/${name}/src`]),
]
const wasmSources = [
  ...rust,
  ...['crates/wasm/Cargo.toml', 'crates/wasm/src'],
  ...['scripts/wasm-tools', 'scripts/wasm.mjs', 'scripts/glue.mjs'],
]

const parts = [
  {
    name: 'addon (crates/napi)',
    inputs: [...rust, 'crates/napi/Cargo.toml', 'crates/napi/build.rs', 'crates/napi/src', 'crates/napi/package.json'],
    outputs: ['crates/napi/dist/index.js', 'crates/napi/dist/index.d.ts'],
    build: () =>
      run(bin('napi'), ['build', '--platform', '--release', '--no-const-enum', '--output-dir', 'dist'], {
        cwd: 'crates/napi',
        env: { CARGO_TARGET_DIR: target },
      }),
  },
  ...Object.keys(wasm.features).map((name) => ({
    name: `WASM module, ${name} (crates/wasm)`,
    inputs: wasmSources,
    outputs: [`crates/wasm/dist/${name}.wasm`, 'crates/wasm/dist/cocoop.js', 'crates/wasm/dist/cocoop.d.ts'],
    build: () => buildWasm(name),
  })),
  ...['ts', 'trainer', 'worker'].map((name) => ({
    name: `TypeScript (${name})`,
    inputs: [
      'tsconfig.json',
      `${name}/tsconfig.json`,
      `${name}/tsconfig.build.json`,
      `${name}/package.json`,
      `${name}/src`,
      'package-lock.json',
      'crates/napi/dist/index.d.ts',
      'crates/wasm/dist/cocoop.d.ts',
      'crates/wasm/package.json',
      'crates/wasm/module.d.ts',
      'crates/wasm/urls.d.ts',
      ...(name === 'ts' ? [] : ['ts/dist']),
    ],
    outputs: [`${name}/dist`],
    build: async () => {
      rmSync(join(root, name, 'dist'), { recursive: true, force: true })
      await run(bin('tsc'), ['-p', `${name}/tsconfig.build.json`])
    },
  })),
]

/**
 * wasm-opt -Os takes 20 s, twice as long as -O1, for 2 % fewer bytes. What has one caller stays a function of its own, as
 * the kernels' loops must. The lowest kilobyte of memory is the far end of the stack, so no address in it is meant.
 * Functions sorted by name stand beside their like, which is 1 % less to compress.
 */
const optimise = [
  '-Os',
  '--one-caller-inline-max-function-size=20',
  '--low-memory-unused',
  '--reorder-functions-by-name',
]

/**
 * wasm-pack, then wasm-opt with the features that the module says it uses; the glue is the same for both modules.
 */
async function buildWasm(name) {
  const dist = join(root, 'crates/wasm/dist')
  const packed = join(target, 'packed', name)
  rmSync(packed, { recursive: true, force: true })
  await run(
    'wasm-pack',
    [
      ...'build --target web --no-pack --mode no-install --out-name cocoop'.split(' '),
      ...['--profile', wasm.profile, '--out-dir', packed],
    ],
    { cwd: 'crates/wasm', env: { CARGO_TARGET_DIR: target, ...wasm.environment(name) } },
  )
  mkdirSync(dist, { recursive: true })
  await run(bin('wasm-opt'), [...optimise, join(packed, 'cocoop_bg.wasm'), '-o', join(dist, `${name}.wasm`)])
  const glue = readFileSync(join(packed, 'cocoop.js'), 'utf8')
  writeFileSync(join(dist, 'cocoop.js'), doorModule(glue))
  writeFileSync(join(dist, 'cocoop.d.ts'), doorTypes)
  copyFileSync(join(packed, 'cocoop.d.ts'), join(dist, 'door.d.ts'))
  if (name === 'relaxed' && readFileSync(join(target, 'packed', 'simd', 'cocoop.js'), 'utf8') !== glue) {
    throw new Error('the two modules need different JavaScript; they must have the same exports')
  }
}

/** Runs a command; its output is shown only when it fails. */
function run(command, args, { cwd = '.', env = {} } = {}) {
  return new Promise((done, failed) => {
    const child = spawn(command, args, {
      cwd: join(root, cwd),
      env: { ...process.env, CARGO_TERM_COLOR: process.stderr.isTTY ? 'always' : 'never', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
    child.on('error', (error) => failed(new Error(`${command}: ${error.message}`)))
    child.on('close', (code, signal) => {
      if (code === 0) done()
      else failed(new Error(`${tidy(output)}\n${basename(command)} ended with ${signal ?? code}`))
    })
  })
}

/** What a person needs of a failed build's output: not the hundred crates that did compile. */
function tidy(output) {
  return output.replaceAll(/^\S*\s*(?:Compiling|Download(?:ing|ed)|Updating|Locking|Finished)\S* .*\n/gm, '').trimEnd()
}

/** Hash of the contents and names of files and folders; a test is no input of a build. */
export function hashOf(paths, from = root) {
  const hash = createHash('sha256')
  const add = (path) => {
    const full = join(from, path)
    if (/\.test\.ts$|\/target$/.test(path)) return
    if (!existsSync(full)) {
      hash.update(`${path}\0missing\0`)
    } else if (statSync(full).isDirectory()) {
      for (const name of readdirSync(full).sort()) add(`${path}/${name}`)
    } else {
      const bytes = readFileSync(full)
      hash.update(`${path}\0${bytes.length}\0`).update(bytes)
    }
  }
  paths.forEach(add)
  return hash.digest('hex')
}

async function main() {
  const started = performance.now()
  const seconds = (from) => `${((performance.now() - from) / 1000).toFixed(1)} s`
  const builder = `${hashOf(['scripts/build.mjs'])} ${process.env.RUSTFLAGS ?? ''}`
  let built = 0
  for (const part of parts) {
    const note = join(notes, part.name.replaceAll(/[^A-Za-z]+/g, '-'))
    const now = () => `${builder} ${hashOf(part.inputs)}`
    const before = now()
    const noted = existsSync(note) ? readFileSync(note, 'utf8') : ''
    if (noted === before && part.outputs.every((path) => existsSync(join(root, path)))) continue
    const from = performance.now()
    const line = `[build] ${part.name} ...`
    const clear = process.stderr.isTTY ? '\r\x1b[K' : ''
    process.stderr.write(clear ? line : `${line}\n`)
    const ticker = clear && setInterval(() => process.stderr.write(`${clear}${line} ${seconds(from)}`), 1000)
    try {
      rmSync(note, { force: true })
      await part.build()
    } catch (error) {
      process.stderr.write(`${clear}[build] FAILED: ${part.name}\n${error.message}\n`)
      process.exit(1)
    } finally {
      if (ticker) clearInterval(ticker)
    }
    process.stderr.write(`${clear}[build] ${part.name}: ${seconds(from)}\n`)
    mkdirSync(notes, { recursive: true })
    // The hash from before the build: what changed while it ran is not in it.
    writeFileSync(note, before)
    built += 1
  }
  process.stderr.write(
    `[build] ${built === 0 ? 'all up to date' : `${built} of ${parts.length} parts built`} (${seconds(started)})\n`,
  )
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main()
