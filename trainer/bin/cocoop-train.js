#!/usr/bin/env node
/**
 * The command `cocoop-train`. It is plain JavaScript outside dist, so that a clone has the command before its first build.
 * In a clone that is not built yet, or under a Node.js that is too old, scripts/with-env first gets what is missing.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const cli = new URL('../dist/cli.js', import.meta.url)
const withEnv = new URL('../../scripts/with-env', import.meta.url)
const [major, minor] = process.versions.node.split('.').map(Number)
const nodeIsNew = major > 22 || (major === 22 && minor >= 12)

if (nodeIsNew && existsSync(cli)) {
  await import(cli.href)
} else if (existsSync(withEnv)) {
  const args = [fileURLToPath(withEnv), '--build', 'node', fileURLToPath(cli), ...process.argv.slice(2)]
  const child = spawn('bash', args, { stdio: 'inherit' })
  process.on('SIGINT', () => {}) // a terminal's Ctrl-C reaches the child too, which ends in its own way
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  child.on('error', (error) => {
    console.error(`cocoop-train: bash: ${error.message}`)
    process.exitCode = 1
  })
  child.on('close', (code, signal) => {
    if (signal) process.kill(process.pid, signal)
    else process.exitCode = code
  })
} else {
  console.error(`cocoop-train: Node.js 22.12 or newer is needed, this is ${process.version}`)
  process.exitCode = 1
}
