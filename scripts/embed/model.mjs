/**
 * Makes models/emoji-clip from the full checkpoint: the same tensors, but of the token table only the rows that were trained.
 * Rows that are all zeros are left out; `token_embedding.ids` says which rows are there. Nothing is rounded.
 * `node scripts/embed/model.mjs CHECKPOINT_DIR [OUT_DIR]`
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readSafetensors, writeSafetensors } from './safetensors.mjs'

const TABLE = 'text_model.embeddings.token_embedding.weight'
const IDS = 'text_model.embeddings.token_embedding.ids'
const MAX_BYTES = 16 * 1024 * 1024

const [from, to = join(dirname(fileURLToPath(import.meta.url)), '../../models/emoji-clip')] = process.argv.slice(2)
if (!from) {
  console.error('usage: node scripts/embed/model.mjs CHECKPOINT_DIR [OUT_DIR]')
  process.exit(2)
}

const original = readSafetensors(readFileSync(join(from, 'model.safetensors')))
const file = writeSafetensors(withTrainedRows(original))
verify(readSafetensors(file), original)
if (file.length > MAX_BYTES) throw new Error(`the model has ${file.length} bytes, the limit is ${MAX_BYTES}`)
mkdirSync(to, { recursive: true })
writeFileSync(join(to, 'model.safetensors'), file)
writeFileSync(join(to, 'config.json'), readFileSync(join(from, 'config.json'))) // copying would keep a read-only mode
const sha256 = createHash('sha256').update(file).digest('hex')
console.log(`${join(to, 'model.safetensors')}: ${file.length} bytes, SHA-256 ${sha256}`)

/** The table as (n_known, width) and its ascending row numbers; ids first, because u32 wants the wider alignment. */
function withTrainedRows(tensors) {
  const { dtype, shape, bytes } = tensors.get(TABLE)
  const row_bytes = bytes.length / shape[0]
  const row = (id) => bytes.subarray(id * row_bytes, (id + 1) * row_bytes)
  const ids = Array.from({ length: shape[0] }, (_, id) => id).filter((id) => row(id).some((byte) => byte !== 0))
  const id_bytes = Buffer.alloc(ids.length * 4)
  for (const [i, id] of ids.entries()) id_bytes.writeUInt32LE(id, i * 4)
  const names = [...tensors.keys()].sort()
  return new Map([
    [IDS, { dtype: 'U32', shape: [ids.length], bytes: id_bytes }],
    ...names.map((name) => [name, tensors.get(name)]),
    [TABLE, { dtype, shape: [ids.length, shape[1]], bytes: Buffer.concat(ids.map(row)) }],
  ])
}

/** Throws unless the written file, its table filled up with zero rows, is the original bit for bit. */
function verify(written, original) {
  const { bytes: id_bytes, shape } = written.get(IDS)
  const full = Buffer.alloc(original.get(TABLE).bytes.length)
  const row_bytes = full.length / original.get(TABLE).shape[0]
  for (let i = 0; i < shape[0]; i++) {
    written.get(TABLE).bytes.copy(full, id_bytes.readUInt32LE(i * 4) * row_bytes, i * row_bytes, (i + 1) * row_bytes)
  }
  for (const [name, tensor] of original) {
    const bytes = name === TABLE ? full : written.get(name)?.bytes
    if (!bytes?.equals(tensor.bytes)) throw new Error(`tensor ${name} is not the original's`)
  }
  if (written.size !== original.size + 1) throw new Error('the written file holds other tensors than the original')
  console.log(
    `${original.size} tensors equal the original's; ${shape[0]} token rows kept, the other ${original.get(TABLE).shape[0] - shape[0]} are zero`,
  )
}
