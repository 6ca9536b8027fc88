/**
 * One run per folder. The lock file holds process id and host; a lock whose process is gone is taken over,
 * so that a run can be resumed after `kill -9` without cleaning up by hand.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { codeOf, TrainError } from './errors.ts'

/**
 * Takes the lock of a folder and returns what gives it back.
 * @throws TrainError `locked` if another live process (or one on another host, which cannot be asked) holds it.
 */
export function lockFolder(folder: string): () => void {
  const path = join(folder, 'lock')
  const mine = `${process.pid} ${hostname()}\n`
  if (!tryWrite(path, mine)) {
    // Of two processes that find the same dead lock only one may clear it: whoever creates this second file.
    const clearing = `${path}.clearing`
    if (!tryWrite(clearing, mine)) throw locked(folder, clearing)
    try {
      if (isAlive(path)) throw locked(folder, path)
      writeFileSync(path, mine)
    } finally {
      rmSync(clearing, { force: true })
    }
  }
  return () => rmSync(path, { force: true })
}

function tryWrite(path: string, text: string): boolean {
  try {
    writeFileSync(path, text, { flag: 'wx' })
    return true
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'EEXIST') return false
    throw cause
  }
}

function isAlive(path: string): boolean {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    if (codeOf(cause) === 'not_found') return false
    throw cause
  }
  const [pid, host] = text.trim().split(' ')
  if (host !== undefined && host !== hostname()) return true
  try {
    process.kill(Number(pid), 0) // asks whether the process exists; sends nothing
    return Number(pid) !== process.pid
  } catch (cause) {
    return codeOf(cause) === 'no_permission'
  }
}

function locked(folder: string, path: string): TrainError {
  const hint = `Wait for it, or choose another --out. If no other run is going on, delete ${path}.`
  return new TrainError('locked', `another run is writing to ${folder}`, hint)
}
