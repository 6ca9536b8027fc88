/** What is embedded is what its README says, and its scripts make it from the originals without a change. */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
// @ts-expect-error: a plain script without types
import * as untyped from '../../../scripts/embed/safetensors.mjs'
import { sha256 } from '../files.ts'

interface Tensor {
  dtype: string
  shape: number[]
  bytes: Buffer
}
const { readSafetensors, writeSafetensors } = untyped as {
  readSafetensors: (file: Buffer) => Map<string, Tensor>
  writeSafetensors: (tensors: Map<string, Tensor>) => Buffer
}
const TABLE = 'text_model.embeddings.token_embedding.weight'
const IDS = 'text_model.embeddings.token_embedding.ids'
const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'embedded-'))
})
afterEach(() => rm(folder, { recursive: true }))

test.each([
  ['data/emoji-backdrops.zip', 'data/README.md'],
  ['data/emoji-kinds.zip', 'data/README.md'],
  ['models/emoji-clip/model.safetensors', 'models/emoji-clip/README.md'],
])('%s has the hash and the size that %s states', async (file, readme) => {
  const [bytes, text] = [await readFile(join(ROOT, file)), await readFile(join(ROOT, readme), 'utf8')]
  expect(text).toContain(sha256(bytes))
  expect(text).toContain(bytes.length.toLocaleString('en'))
})

describe('emoji-clip', () => {
  test('holds every trained token row once, in order, and no row of zeros', async () => {
    const tensors = readSafetensors(await readFile(join(ROOT, 'models/emoji-clip/model.safetensors')))
    const ids = u32s(tensors.get(IDS)?.bytes)
    expect(ids).toHaveLength(6089)
    expect(ids.every((id, i) => i === 0 || id > (ids[i - 1] ?? 0))).toBe(true)
    expect(ids.at(-1)).toBe(49407)
    const { shape, dtype, bytes } = tensors.get(TABLE) as Tensor
    expect({ shape, dtype }).toEqual({ shape: [6089, 192], dtype: 'F16' })
    const zero = Buffer.alloc(2 * 192)
    expect(ids.filter((_, i) => bytes.subarray(i * 384, (i + 1) * 384).equals(zero))).toEqual([])
  })

  test('is made by its script: other tensors as they were, the table without its zero rows', async () => {
    const rows = Buffer.from([0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5])
    const original = new Map<string, Tensor>([
      ['b', { dtype: 'F16', shape: [], bytes: Buffer.from([7, 8]) }],
      [TABLE, { dtype: 'F16', shape: [4, 2], bytes: rows }],
    ])
    await writeFile(join(folder, 'model.safetensors'), writeSafetensors(original))
    await writeFile(join(folder, 'config.json'), '{}')
    const out = join(folder, 'out')
    await promisify(execFile)(process.execPath, [join(ROOT, 'scripts/embed/model.mjs'), folder, out])
    const made = readSafetensors(await readFile(join(out, 'model.safetensors')))
    expect([...made.keys()].sort()).toEqual(['b', IDS, TABLE].sort())
    expect(made.get('b')).toEqual(original.get('b'))
    expect(u32s(made.get(IDS)?.bytes)).toEqual([1, 3])
    expect(made.get(TABLE)).toEqual({ dtype: 'F16', shape: [2, 2], bytes: Buffer.from([1, 2, 3, 4, 0, 0, 0, 5]) })
    expect(await readFile(join(out, 'config.json'), 'utf8')).toBe('{}')
  })
})

function u32s(bytes: Buffer | undefined): number[] {
  return Array.from({ length: (bytes?.length ?? 0) / 4 }, (_, i) => bytes?.readUInt32LE(4 * i) ?? 0)
}
