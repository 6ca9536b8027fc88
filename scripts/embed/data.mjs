/**
 * Makes the archives in data/ from folders in the layout of the original data sets (images/ and split_zhou_*.json).
 * Files keep their bytes; the notices of data/ go into each archive. The same input always gives the same archive.
 * `node scripts/embed/data.mjs SETS_DIR [OUT_DIR]`
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { zip } from './zip.mjs'

const SHIFTS = ['noisy', 'dark', 'sketch', 'pixelated']
const ARCHIVES = {
  'emoji-backdrops': ['emoji-backdrops', ...SHIFTS.map((shift) => `emoji-backdrops-${shift}`)],
  'emoji-kinds': ['emoji-kinds'],
}
const MAX_BYTES = 10_000_000

const data = join(dirname(fileURLToPath(import.meta.url)), '../../data')
const [from, to = data] = process.argv.slice(2)
if (!from) {
  console.error('usage: node scripts/embed/data.mjs SETS_DIR [OUT_DIR]')
  process.exit(2)
}

for (const [name, sets] of Object.entries(ARCHIVES)) {
  const files = new Map()
  for (const notice of ['NOTICE', 'licenses/Apache-2.0.txt', 'licenses/MIT.txt']) {
    files.set(notice, readFileSync(join(data, notice)))
  }
  for (const set of sets)
    for (const path of filesOf(set)) files.set(`${set}/${path}`, readFileSync(join(from, set, path)))
  const bytes = zip(files)
  if (bytes.length > MAX_BYTES) throw new Error(`${name}.zip has ${bytes.length} bytes, the limit is ${MAX_BYTES}`)
  writeFileSync(join(to, `${name}.zip`), bytes)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  console.log(`${name}.zip: ${files.size} files, ${bytes.length} bytes, SHA-256 ${sha256}`)
}

/** The split file and the images it lists; whatever else lies in the folder stays out. */
function filesOf(set) {
  const splitFile = readdirSync(join(from, set)).find((file) => /^split_zhou_.+\.json$/.test(file))
  if (!splitFile) throw new Error(`${join(from, set)} has no split_zhou_*.json`)
  const { train, val, test } = JSON.parse(readFileSync(join(from, set, splitFile), 'utf8'))
  return [splitFile, ...[...train, ...val, ...test].map(([path]) => `images/${path}`)]
}
