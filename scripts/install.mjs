/**
 * Installs the npm packages that package-lock.json names, when node_modules does not hold exactly those.
 * npm keeps its own list of what it installed; comparing the two takes milliseconds, `npm ci` half a minute.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

/** The first package that `installed` lacks or has in another version than `lock`; undefined when they agree. */
export function firstDifference(lock, installed) {
  for (const [path, wanted] of Object.entries(lock.packages)) {
    if (!path.includes('node_modules/')) continue
    const found = installed.packages[path]
    const same = found && found.version === wanted.version && found.link === wanted.link
    // What is optional may be for another system.
    if (!same && (found || !(wanted.optional || wanted.peer))) return path
  }
  return undefined
}

function main() {
  const read = (file) => JSON.parse(readFileSync(file, 'utf8'))
  const mark = 'node_modules/.package-lock.json'
  const different = existsSync(mark) ? firstDifference(read('package-lock.json'), read(mark)) : 'all of them'
  if (different === undefined) return
  const started = Date.now()
  process.stderr.write(`[setup] npm packages (${different.replace('node_modules/', '')} missing or changed) ...\n`)
  try {
    execFileSync('npm', ['ci', '--loglevel=error', '--no-audit', '--no-fund'], { stdio: ['ignore', 'pipe', 'pipe'] })
  } catch (error) {
    rmSync(mark, { force: true })
    process.stderr.write(`${error.stdout ?? ''}${error.stderr ?? error.message}`)
    process.stderr.write('[setup] FAILED: npm ci (above); is the npm registry reachable?\n')
    process.exit(1)
  }
  process.stderr.write(`[setup] npm packages: ${Math.round((Date.now() - started) / 1000)} s\n`)
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) main()
