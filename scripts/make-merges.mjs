/**
 * Writes crates/core/src/input/tokenizer/merges.bin from CLIP's vocabulary file: one pair of token ids per merge, in
 * order of rank: the low bytes of all first ids, their high bytes, then those of the second, which compresses better than
 * pair by pair. The file is `clip/bpe_simple_vocab_16e6.txt.gz` of the repository openai/CLIP (MIT).
 * Usage: node scripts/make-merges.mjs bpe_simple_vocab_16e6.txt.gz
 */
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

const SHA256 = '924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a'
const [source] = process.argv.slice(2)
if (!source) throw new Error('usage: node scripts/make-merges.mjs bpe_simple_vocab_16e6.txt.gz')
const file = readFileSync(source)
const sha256 = createHash('sha256').update(file).digest('hex')
if (sha256 !== SHA256) throw new Error(`${source}: SHA-256 ${sha256}, expected ${SHA256}`)

// Line 1 is a header; of the merges, CLIP uses the first 49,152 - 256 - 2.
const lines = gunzipSync(file)
  .toString('utf8')
  .split('\n')
  .slice(1, 1 + 48894)

// GPT-2's table: printable bytes stand for themselves, the others for U+0100 and up. Their order is that of the ids.
const printable = []
for (const [first, last] of [
  [33, 126],
  [161, 172],
  [174, 255],
]) {
  for (let byte = first; byte <= last; byte++) printable.push(byte)
}
const symbols = printable.map((byte) => String.fromCharCode(byte))
for (let n = 0; n < 256 - printable.length; n++) symbols.push(String.fromCharCode(256 + n))

const ids = new Map([...symbols, ...symbols.map((symbol) => `${symbol}</w>`)].map((symbol, id) => [symbol, id]))
const pairs = new Uint8Array(lines.length * 4)
lines.forEach((line, rank) => {
  const [first, second] = line.split(' ')
  if (!ids.has(first) || !ids.has(second) || ids.has(first + second)) throw new Error(`merge ${rank}: ${line}`)
  const bytes = [first, second].flatMap((symbol) => [ids.get(symbol) & 255, ids.get(symbol) >> 8])
  bytes.forEach((byte, plane) => {
    pairs[plane * lines.length + rank] = byte
  })
  ids.set(first + second, 512 + rank)
})
writeFileSync(new URL('../crates/core/src/input/tokenizer/merges.bin', import.meta.url), pairs)
console.log(
  `${lines.length} merges; SHA-256 of their lines: ${createHash('sha256')
    .update(`${lines.join('\n')}\n`)
    .digest('hex')}`,
)
