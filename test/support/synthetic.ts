/** A CLIP of ViT-B/32's dimensions with deterministic random weights, as a safetensors file in f16: for memory and time, not for sense. */
import { open } from 'node:fs/promises'

const VISION = { layers: 12, width: 768, patch: 32, rows: 50 }
const TEXT = { layers: 12, width: 512, vocabulary: 49_408, context: 77 }
const EMBED = 512
/** Values written at a time. */
const CHUNK = 1 << 20

function shapes(): [name: string, shape: number[]][] {
  const norm = (name: string, width: number): [string, number[]][] => [
    [`${name}.weight`, [width]],
    [`${name}.bias`, [width]],
  ]
  const blocks = (prefix: string, layers: number, width: number) =>
    Array.from({ length: layers }, (_, i) => {
      const name = (leaf: string) => `${prefix}.resblocks.${i}.${leaf}`
      const list: [string, number[]][] = [
        ...norm(name('ln_1'), width),
        [name('attn.in_proj_weight'), [3 * width, width]],
        [name('attn.in_proj_bias'), [3 * width]],
        [name('attn.out_proj.weight'), [width, width]],
        [name('attn.out_proj.bias'), [width]],
        ...norm(name('ln_2'), width),
        [name('mlp.c_fc.weight'), [4 * width, width]],
        [name('mlp.c_fc.bias'), [4 * width]],
        [name('mlp.c_proj.weight'), [width, 4 * width]],
        [name('mlp.c_proj.bias'), [width]],
      ]
      return list
    }).flat()
  return [
    ['logit_scale', []],
    ['visual.conv1.weight', [VISION.width, 3, VISION.patch, VISION.patch]],
    ['visual.class_embedding', [VISION.width]],
    ['visual.positional_embedding', [VISION.rows, VISION.width]],
    ...norm('visual.ln_pre', VISION.width),
    ...blocks('visual.transformer', VISION.layers, VISION.width),
    ...norm('visual.ln_post', VISION.width),
    ['visual.proj', [VISION.width, EMBED]],
    ['token_embedding.weight', [TEXT.vocabulary, TEXT.width]],
    ['positional_embedding', [TEXT.context, TEXT.width]],
    ...blocks('transformer', TEXT.layers, TEXT.width),
    ...norm('ln_final', TEXT.width),
    ['text_projection', [TEXT.width, EMBED]],
  ]
}

/** Half-precision bits of 2^-6 to 2^-5 with a random sign; 1 for the weights of norms, 4.6 for the scale. */
function value(name: string): { fixed: number } | 'random' {
  if (name === 'logit_scale') return { fixed: 0x449a }
  if (/ln_\w+\.weight$/.test(name)) return { fixed: 0x3c00 }
  return 'random'
}

/** Writes the model to `path`: 303 MB, piece by piece. */
export async function writeSyntheticB32(path: string): Promise<void> {
  const tensors = shapes()
  const header: Record<string, unknown> = {}
  let end = 0
  for (const [name, shape] of tensors) {
    const start = end
    end += 2 * shape.reduce((product, side) => product * side, 1)
    header[name] = { dtype: 'F16', shape, data_offsets: [start, end] }
  }
  const json = new TextEncoder().encode(JSON.stringify(header))
  const length = new Uint8Array(8)
  new DataView(length.buffer).setBigUint64(0, BigInt(json.length), true)
  const file = await open(path, 'w')
  try {
    await file.write(length)
    await file.write(json)
    const chunk = new Uint16Array(CHUNK)
    let random = 1
    for (const [name, shape] of tensors) {
      const what = value(name)
      for (let left = shape.reduce((product, side) => product * side, 1); left > 0; left -= CHUNK) {
        const part = chunk.subarray(0, Math.min(left, CHUNK))
        if (what !== 'random') part.fill(what.fixed)
        else
          for (let i = 0; i < part.length; i += 1) {
            // xorshift32: its sign and 10 bits of it are the number's
            random ^= random << 13
            random ^= random >>> 17
            random ^= random << 5
            part[i] = (random & 0x83ff) | 0x2400
          }
        await file.write(part)
      }
    }
  } finally {
    await file.close()
  }
}
