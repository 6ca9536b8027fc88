/**
 * One run per folder. The lock file holds process id, host and, where the system tells, when the process began; a lock whose process is
 * gone is taken over, so that a run can be resumed after `kill -9` without cleaning up by hand. On another host the process cannot be asked:
 * there a lock counts as long as its file is touched, which its process does every few seconds.
 */
import { linkSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { codeOf, TrainError } from './errors.ts'

const TOUCH_MS = 5000
/** A process of another host that was silent for so long is gone. */
const SILENT_MS = 60_000
/** A lock that names nobody is being written, or whoever wrote it was killed in between. */
const NAMELESS_MS = 2000

/**
 * Takes the lock of a folder and returns what gives it back.
 * @throws TrainError `locked` if another live process holds it.
 */
export function lockFolder(folder: string): () => void {
  const path = join(folder, 'lock')
  const mine = `${process.pid} ${hostname()} ${beganAt(process.pid) ?? ''}\n`
  if (!tryWrite(path, mine)) {
    // Of two processes that find the same dead lock only one may clear it: whoever creates this second file.
    const clearing = `${path}.clearing`
    if (!tryWrite(clearing, mine) && !(removeDead(clearing) && tryWrite(clearing, mine))) throw locked(folder, clearing)
    try {
      if (isAlive(path, statSync(clearing).mtimeMs)) throw locked(folder, path)
      replace(path, mine)
    } finally {
      rmSync(clearing, { force: true })
    }
  }
  const timer = setInterval(() => touch(path, mine), TOUCH_MS)
  timer.unref()
  return () => {
    clearInterval(timer)
    rmSync(path, { force: true })
  }
}

/** Whether a live process works in the folder. */
export function isLocked(folder: string): boolean {
  return isAlive(join(folder, 'lock'), Date.now())
}

/** The same bytes again, so that the time of change is that of the file system's clock; a lock that was removed stays removed. */
function touch(path: string, mine: string): void {
  try {
    writeFileSync(path, mine, { flag: 'r+' })
  } catch {
    // The folder is gone or the disk is full: the run itself will say so.
  }
}

/** Removes the file if its process died while it cleared a lock. Returns whether it did. */
function removeDead(path: string): boolean {
  if (isAlive(path, Date.now())) return false
  const mine = `${path}.${process.pid}`
  try {
    renameSync(path, mine) // of several that find it only one moves it
  } catch {
    return false
  }
  rmSync(mine, { force: true })
  return true
}

/** A new file that is there with its text or not at all: a process that is killed here leaves no lock that names nobody. */
function tryWrite(path: string, text: string): boolean {
  const beside = `${path}.${process.pid}`
  try {
    writeFileSync(beside, text)
    try {
      linkSync(beside, path)
    } catch (cause) {
      if (!isCode(cause, NO_LINKS)) throw cause
      writeFileSync(path, text, { flag: 'wx' })
    }
    return true
  } catch (cause) {
    if (isCode(cause, ['EEXIST'])) return false
    throw cause
  } finally {
    rmSync(beside, { force: true })
  }
}

/** What a file system says that has no hard links. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']

function isCode(cause: unknown, codes: readonly string[]): boolean {
  return cause instanceof Error && 'code' in cause && codes.includes(String(cause.code))
}

function replace(path: string, text: string): void {
  const beside = `${path}.${process.pid}`
  writeFileSync(beside, text)
  renameSync(beside, path)
}

/** @param now milliseconds by the clock of the file system, which is not this host's where the folder is shared */
function isAlive(path: string, now: number): boolean {
  let [text, touched] = ['', 0]
  try {
    text = readFileSync(path, 'utf8')
    touched = statSync(path).mtimeMs
  } catch (cause) {
    if (codeOf(cause) === 'not_found') return false
    throw cause
  }
  const [pid, host, began] = text.trim().split(' ')
  if (host === undefined) return now - touched < NAMELESS_MS
  if (host !== hostname()) return now - touched < SILENT_MS
  if (began !== undefined && began !== beganAt(Number(pid))) return false // its number is another process's now
  try {
    process.kill(Number(pid), 0) // asks whether the process exists; sends nothing
    return Number(pid) !== process.pid
  } catch (cause) {
    return codeOf(cause) === 'no_permission'
  }
}

/** When a process began, in ticks since the machine did; `undefined` where there is no such process, or no /proc. */
function beganAt(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] // the 22nd field; the second, a name, may hold spaces
  } catch {
    return undefined
  }
}

function locked(folder: string, path: string): TrainError {
  const hint = `Wait for it, or choose another --out. If no other run is going on, delete ${path}.`
  return new TrainError('locked', `another run is writing to ${folder}`, hint)
}
