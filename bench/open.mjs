/**
 * How long a ViT-B/32 of 605 MB (f32, one safetensors file) takes to open natively, to be ready for its first image, and to be
 * hashed, with the file in the system's cache. `npm run bench -- open [--json] [--rounds N]`; it writes the file to a
 * temporary folder.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { nativeEngine } from 'cocoop/node'

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, rounds: { type: 'string', default: '7' } },
})
/** Seconds, of the budget. */
const GOAL = 0.3

/** Writes ViT-B/32 with synthetic weights into `folder`; its size, bytes. */
function write(folder) {
  const cargo = ['run', '--release', '--quiet', '-p', 'cocoop-core', '--example', 'synthetic_model', '--']
  const { status, error } = spawnSync('cargo', [...cargo, 'ViT-B/32', folder], { stdio: ['ignore', 2, 'inherit'] })
  if (status !== 0) throw new Error('the model could not be made', { cause: error })
  return statSync(path).size
}

const folder = mkdtempSync(join(tmpdir(), 'cocoop-open-'))
const path = join(folder, 'model.safetensors')
const image = readFileSync(join(import.meta.dirname, '../fixtures/preprocess/in/rgb_224x224.png'))
const times = { open: [], image: [], hash: [] }
let bytes = 0
try {
  bytes = write(folder)
  const engine = await nativeEngine()
  for (let round = 0; round < Number(values.rounds); round++) {
    const start = performance.now()
    using model = await engine.openModel({ paths: [path], config: '' })
    const opened = performance.now()
    times.open.push(opened - start)
    await model.embedImages([image]).catch((error) => {
      throw new Error('the first image failed', { cause: error })
    })
    times.image.push(performance.now() - start)
    const hashing = performance.now()
    model.info
    times.hash.push(performance.now() - hashing)
  }
} finally {
  rmSync(folder, { recursive: true })
}

const names = {
  open: 'ViT-B/32, 605 MB of f32, opened natively',
  image: 'the same, opened and its first image encoded',
  hash: 'its SHA-256, when first asked for',
}
const rows = Object.entries(times).map(([key, ms]) => {
  const sorted = ms.toSorted((a, b) => a - b)
  const [ours, goal] = [sorted[sorted.length >> 1] / 1000, key === 'open' ? GOAL : null]
  const spread = (sorted.at(-1) - sorted[0]) / 1000
  return {
    name: names[key],
    peer: goal && 'budget',
    ours,
    theirs: goal,
    unit: 's',
    ratio: goal && goal / ours,
    goal: goal && 1,
    spread,
  }
})
if (values.json) console.log(JSON.stringify(rows))
else {
  console.log(`${(bytes / 1e6).toFixed(0)} MB, median of ${values.rounds} rounds`)
  for (const { name, ours, spread } of rows)
    console.log(`${name.padEnd(48)} ${ours.toFixed(4)} s (spread ${spread.toFixed(4)})`)
}
