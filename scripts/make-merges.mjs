/**
 * Writes crates/core/src/input/tokenizer/merges.bin from CLIP's vocabulary file: the number of merges, then the pairs of
 * token ids in order of rank, coded as merges.rs beside it reads them; 22.3 bits a merge, where xz -9 leaves 25.0 and
 * gzip -9 26.8. The file is `clip/bpe_simple_vocab_16e6.txt.gz` of the repository openai/CLIP (MIT).
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

/** Numbers of which one comes next, each with its weight; merges.rs finds the same weights by sums of sums. */
class Choice {
  constructor(numbers = []) {
    this.numbers = [...numbers]
    this.weights = this.numbers.map(() => 1)
  }
  push(number) {
    this.numbers.push(number)
    this.weights.push(1)
  }
  /** Codes `number`, and adds `more` to its weight. */
  put(number, more) {
    const at = this.numbers.indexOf(number)
    const sum = (weights) => weights.reduce((a, b) => a + b, 0)
    encode(sum(this.weights.slice(0, at)), this.weights[at], sum(this.weights))
    this.weights[at] += more
  }
}

// The range coder. `low` has 32 bits, and one more where it carries into the bytes that are written.
let low = 0
let range = 1
const coded = []
function shift() {
  if (low >= 2 ** 32) for (let at = coded.length - 1; ++coded[at] === 256; at--) coded[at] = 0
  coded.push((low >>> 24) & 255)
  low = (low % 2 ** 24) * 256
}
function encode(before, own, total) {
  for (; range < 2 ** 24; range *= 256) shift()
  range = Math.floor(range / total)
  low += range * before
  range *= own
}

const tokens = [] // the first and the last byte as ids, whether the token ends a word
const N_KINDS = 512
const kind = (token) => token.begin + (token.endsWord ? 256 : 0)
const firsts = new Choice()
const kinds = Array.from({ length: 256 }, () => new Choice(Array(N_KINDS).keys()))
const seconds = Array.from({ length: N_KINDS }, () => new Choice())
function add(token) {
  const id = tokens.push(token) - 1
  if (!token.endsWord) firsts.push(id)
  seconds[kind(token)].push(id)
}
for (let id = 0; id < N_KINDS; id++) add({ begin: id % 256, end: id % 256, endsWord: id >= 256 })

lines.forEach((line, rank) => {
  const [first, second] = line.split(' ')
  if (!ids.has(first) || !ids.has(second) || ids.has(first + second)) throw new Error(`merge ${rank}: ${line}`)
  const [a, b] = [ids.get(first), ids.get(second)]
  firsts.put(a, 1)
  kinds[tokens[a].end].put(kind(tokens[b]), 32)
  seconds[kind(tokens[b])].put(b, 4)
  add({ ...tokens[b], begin: tokens[a].begin })
  ids.set(first + second, N_KINDS + rank)
})
for (let byte = 0; byte < 4; byte++) shift()
// The reader starts with three bytes read, so the first four say nothing; it takes what is missing at the end for zeros.
const body = coded.slice(4)
while (body.at(-1) === 0) body.pop()
const bytes = [lines.length & 255, lines.length >> 8, ...body]
writeFileSync(new URL('../crates/core/src/input/tokenizer/merges.bin', import.meta.url), new Uint8Array(bytes))
console.log(
  `${lines.length} merges; SHA-256 of their lines: ${createHash('sha256')
    .update(`${lines.join('\n')}\n`)
    .digest('hex')}`,
)
