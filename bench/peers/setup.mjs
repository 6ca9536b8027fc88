/**
 * Makes everything that `npm run bench -- engine` and `train` compare: models with synthetic weights (fixtures/README.md), their
 * packs and ONNX graphs, photographs, and the peers themselves: onnxruntime-web and -node from npm, PyTorch, torchvision, open_clip
 * and onnxruntime from PyPI.
 * `npm run bench:peers`: about 10 GB in target/bench (`COCOOP_BENCH_DIR` for another folder); what is there is kept.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { folder, MODELS, PACK_BITS, PHOTOS } from './where.mjs'

const root = resolve(import.meta.dirname, '../..')
const CLI = join(root, 'trainer/dist/cli.js')
mkdirSync(folder, { recursive: true })

step('onnxruntime-web and onnxruntime-node', join(import.meta.dirname, 'node_modules'), () =>
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: import.meta.dirname }),
)
const python = join(folder, 'venv/bin/python')
step('PyTorch, open_clip and onnxruntime for Python', join(folder, 'venv'), (to) => {
  run('python3', ['-m', 'venv', to])
  const pip = ['-m', 'pip', 'install', '--quiet', '-r', join(import.meta.dirname, 'requirements.txt')]
  const { status } = spawnSync(join(to, 'bin/python'), pip, { stdio: 'inherit' })
  if (status !== 0) rmSync(to, { recursive: true, force: true })
  if (status !== 0) throw new Error('the Python peers could not be installed')
})
step('photographs', PHOTOS.folder, (to) =>
  run(python, [join(import.meta.dirname, 'photos.py'), to, String(PHOTOS.count)]),
)
for (const [id, name] of Object.entries(MODELS)) {
  const model = join(folder, id)
  step(`${name}, synthetic weights`, model, (to) => example('synthetic_model', name, to))
  for (const bits of PACK_BITS) {
    step(`${name} as a pack of ${bits} bits`, `${model}-${bits}`, (to) =>
      run(process.execPath, [
        CLI,
        'pack',
        join(model, 'model.safetensors'),
        '--bits',
        String(bits),
        '--out',
        to,
        '--quiet',
      ]),
    )
  }
  step(`${name} as ONNX graphs`, `${model}-onnx`, (to) => example('onnx_synthetic', name, to))
  for (const graph of ['vision_model', 'text_model']) {
    const [from, unsigned, signed] = ['', '-u8', '-s8'].map((kind) => join(`${model}-onnx`, `${graph}${kind}.onnx`))
    step(`${name}, ${graph} in int8 by onnxruntime`, signed, () =>
      run(python, [join(import.meta.dirname, 'quantize.py'), from, unsigned, signed]),
    )
  }
}
console.log(`ready: ${folder}`)

/** Makes `what` where it is not there; a folder is made beside and renamed, so that half of one is never taken for it. */
function step(what, path, make) {
  if (existsSync(path)) return
  const start = Date.now()
  process.stdout.write(`${what} ... `)
  if (/\.onnx$|node_modules$|venv$/.test(path)) make(path)
  else {
    rmSync(`${path}.part`, { recursive: true, force: true })
    make(`${path}.part`)
    renameSync(`${path}.part`, path)
  }
  console.log(`${Math.round((Date.now() - start) / 1000)} s`)
}

function example(name, ...args) {
  run('cargo', ['run', '--release', '--quiet', '-p', 'cocoop-core', '--example', name, '--', ...args], { cwd: root })
}

function run(command, args, options = {}) {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'], ...options })
}
