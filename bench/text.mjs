/** Rows and time of trie, packed and padded text encoding: crates/core/examples/text_layouts.rs says what is compared. */
import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
const cargo = [
  'run',
  '--release',
  '--quiet',
  '-p',
  'cocoop-core',
  '--example',
  'text_layouts',
  '--',
  ...process.argv.slice(2),
]
const { status, error } = spawnSync('cargo', cargo, { cwd: root, stdio: 'inherit' })
if (error) console.error(`cargo: ${error.message}`)
process.exit(status ?? 1)
