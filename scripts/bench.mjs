/**
 * Runs one bench by name: npm run bench -- text --json. A bench is a program of its own, bench/NAME.mjs or bench/NAME.ts;
 * with --json it prints one JSON array of rows {name, peer, ours, theirs, unit, ratio, goal, spread}, ratio > 1 being better.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'

const folder = resolve(import.meta.dirname, '..', 'bench')
const files = readdirSync(folder).filter((file) => /^[a-z0-9-]+\.(mjs|ts)$/.test(file))
const names = files.map((file) => file.replace(/\.\w+$/, ''))
const [name, ...args] = process.argv.slice(2)
const index = names.indexOf(name)
if (index < 0) {
  if (name !== undefined) console.error(`no bench ${name}`)
  console.error(`usage: npm run bench -- NAME [--json]\nbenches: ${names.sort().join(', ')}`)
  process.exit(2)
}
// The flags are for Node.js 22.12 to 22.17; later ones read TypeScript without.
const node = ['--experimental-strip-types', '--disable-warning=ExperimentalWarning', join(folder, files[index])]
const { status, signal, error } = spawnSync(process.execPath, [...node, ...args], { stdio: 'inherit' })
if (error) throw error
if (signal) process.kill(process.pid, signal)
process.exit(status)
