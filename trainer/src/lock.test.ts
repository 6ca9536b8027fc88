import { existsSync, mkdtempSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { isLocked, lockFolder } from './lock.ts'

const GONE = 2 ** 22 + 1
const folder = () => mkdtempSync(join(tmpdir(), 'lock-'))
const lockOf = (path: string) => join(path, 'lock')

afterEach(() => {
  vi.useRealTimers()
})

/** A lock whose file was last touched so many seconds ago. */
function left(path: string, name: string, holder: string, seconds: number): void {
  const at = Date.now() / 1000 - seconds
  writeFileSync(join(path, name), holder)
  utimesSync(join(path, name), at, at)
}

test('a lock of another host counts as long as it is touched', () => {
  const path = folder()
  left(path, 'lock', '1 elsewhere\n', 30)
  expect(isLocked(path)).toBe(true)
  expect(() => lockFolder(path)).toThrow(expect.objectContaining({ code: 'locked' }))
  left(path, 'lock', '1 elsewhere\n', 90)
  expect(isLocked(path)).toBe(false)
  const unlock = lockFolder(path)
  expect(readFileSync(lockOf(path), 'utf8')).toMatch(new RegExp(`^${process.pid} ${hostname()} `))
  unlock()
  expect(existsSync(lockOf(path))).toBe(false)
})

test('who holds a lock touches it; one that was removed stays removed', () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  const path = folder()
  const unlock = lockFolder(path)
  left(path, 'lock', readFileSync(lockOf(path), 'utf8'), 90)
  vi.advanceTimersByTime(6000)
  expect(Date.now() - statSync(lockOf(path)).mtimeMs).toBeLessThan(60_000)
  unlock()
  vi.advanceTimersByTime(6000)
  expect(existsSync(lockOf(path))).toBe(false)
})

test.runIf(existsSync('/proc/self/stat'))(
  'a process that has got the number of a dead one does not hold its lock',
  () => {
    const path = folder()
    left(path, 'lock', `${process.ppid} ${hostname()}\n`, 0)
    expect(isLocked(path)).toBe(true)
    left(path, 'lock', `${process.ppid} ${hostname()} 1\n`, 0)
    expect(isLocked(path)).toBe(false)
    lockFolder(path)()
    expect(existsSync(lockOf(path))).toBe(false)
  },
)

test('a lock that names nobody is free when whoever wrote it had the time to', () => {
  const path = folder()
  left(path, 'lock', '', 0)
  expect(isLocked(path)).toBe(true)
  left(path, 'lock', '', 3)
  left(path, 'lock.clearing', '', 3)
  expect(isLocked(path)).toBe(false)
  lockFolder(path)()
  expect(readdirSync(path)).toEqual([])
})

test('a lock is whole from the moment it is there, and leaves nothing beside it', () => {
  const path = folder()
  const unlock = lockFolder(path)
  expect(readdirSync(path)).toEqual(['lock'])
  left(path, 'lock', `${GONE} ${hostname()}\n`, 0)
  lockFolder(path)
  expect(readdirSync(path)).toEqual(['lock'])
  unlock()
})

test('whoever died while it cleared a lock blocks nobody', () => {
  const path = folder()
  left(path, 'lock', `${GONE} ${hostname()}\n`, 0)
  left(path, 'lock.clearing', `${GONE} ${hostname()}\n`, 0)
  lockFolder(path)()
  expect(existsSync(lockOf(path))).toBe(false)
  expect(existsSync(join(path, 'lock.clearing'))).toBe(false)
})
