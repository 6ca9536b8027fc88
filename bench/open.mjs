/**
 * How long a ViT-B/32 of 605 MB (f32, one safetensors file) takes to open natively, to be ready for its first image, and to be
 * hashed, with the file in the system's cache. `npm run bench -- open [--json] [--rounds N]`; it writes the file to a
 * temporary folder. The weights are arbitrary numbers: only their amount matters.
 */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { nativeEngine } from 'cocoop/node'

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, rounds: { type: 'string', default: '7' } },
})
/** Seconds, of the budget. */
const GOAL = 0.3

/** Names and shapes of ViT-B/32. */
function shapes() {
  const all = { logit_scale: [] }
  const norm = (name, width) => Object.assign(all, { [`${name}.weight`]: [width], [`${name}.bias`]: [width] })
  const linear = (name, out, inputs) =>
    Object.assign(all, { [`${name}.weight`]: [out, inputs], [`${name}.bias`]: [out] })
  for (const [prefix, width] of [
    ['visual.transformer', 768],
    ['transformer', 512],
  ]) {
    for (let i = 0; i < 12; i++) {
      const block = `${prefix}.resblocks.${i}`
      norm(`${block}.ln_1`, width)
      norm(`${block}.ln_2`, width)
      Object.assign(all, {
        [`${block}.attn.in_proj_weight`]: [3 * width, width],
        [`${block}.attn.in_proj_bias`]: [3 * width],
      })
      linear(`${block}.attn.out_proj`, width, width)
      linear(`${block}.mlp.c_fc`, 4 * width, width)
      linear(`${block}.mlp.c_proj`, width, 4 * width)
    }
  }
  for (const name of ['visual.ln_pre', 'visual.ln_post']) norm(name, 768)
  norm('ln_final', 512)
  return Object.assign(all, {
    'visual.conv1.weight': [768, 3, 32, 32],
    'visual.class_embedding': [768],
    'visual.positional_embedding': [50, 768],
    'visual.proj': [768, 512],
    'token_embedding.weight': [49408, 512],
    positional_embedding: [77, 512],
    text_projection: [512, 512],
  })
}

function write(path) {
  let at = 0
  const header = {}
  for (const [name, shape] of Object.entries(shapes())) {
    const end = at + 4 * shape.reduce((product, length) => product * length, 1)
    header[name] = { dtype: 'F32', shape, data_offsets: [at, end] }
    at = end
  }
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  const chunk = Float32Array.from({ length: 1 << 20 }, (_, i) => (((i * 2654435761) % 2048) - 1024) / 32768)
  const file = openSync(path, 'w')
  writeSync(file, Buffer.concat([length, json]))
  for (let left = at; left > 0; left -= chunk.byteLength) {
    writeSync(file, new Uint8Array(chunk.buffer, 0, Math.min(left, chunk.byteLength)))
  }
  closeSync(file)
  return 8 + json.length + at
}

const folder = mkdtempSync(join(tmpdir(), 'cocoop-open-'))
const path = join(folder, 'ViT-B-32.safetensors')
const image = readFileSync(join(import.meta.dirname, '../fixtures/preprocess/in/rgb_224x224.png'))
const times = { open: [], image: [], hash: [] }
let bytes = 0
try {
  bytes = write(path)
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
