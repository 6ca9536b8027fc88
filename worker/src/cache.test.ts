import { describe, expect, it, vi } from 'vitest'
import { Gate, SharedLru } from './cache.ts'

const thing = (name: string) => ({
  name,
  disposed: false,
  [Symbol.dispose]() {
    this.disposed = true
  },
})

describe('SharedLru', () => {
  it('shares one load among those that ask at once', async () => {
    const cache = new SharedLru<ReturnType<typeof thing>>(2)
    const load = vi.fn(async () => thing('a'))
    const [first, second] = await Promise.all([cache.get('a', load), cache.get('a', load)])
    expect(first).toBe(second)
    expect(await cache.get('a', load)).toBe(first)
    expect(load).toHaveBeenCalledTimes(1)
  })

  it('forgets a load that failed', async () => {
    const cache = new SharedLru<ReturnType<typeof thing>>(2)
    await expect(cache.get('a', async () => Promise.reject(new Error('down')))).rejects.toThrow('down')
    expect(cache.resident).toBe(false)
    expect((await cache.get('a', async () => thing('a'))).name).toBe('a')
  })

  it('puts out the one used longest ago, and disposes of it', async () => {
    const cache = new SharedLru<ReturnType<typeof thing>>(2)
    const a = await cache.get('a', async () => thing('a'))
    const b = await cache.get('b', async () => thing('b'))
    await cache.get('a', async () => thing('never'))
    await cache.get('c', async () => thing('c'))
    expect([a.disposed, b.disposed]).toEqual([false, true])
    cache.clear()
    expect(a.disposed).toBe(true)
    expect(cache.resident).toBe(false)
  })

  it('loads again what was disposed of', async () => {
    const cache = new SharedLru<ReturnType<typeof thing>>(2)
    ;(await cache.get('a', async () => thing('a')))[Symbol.dispose]()
    expect((await cache.get('a', async () => thing('b'))).name).toBe('b')
  })

  it('leaves what is still loading when it is cleared', async () => {
    const cache = new SharedLru<ReturnType<typeof thing>>(2)
    const { promise, resolve } = Promise.withResolvers<ReturnType<typeof thing>>()
    const first = cache.get('a', () => promise)
    cache.clear()
    const second = cache.get('a', async () => thing('never'))
    resolve(thing('a'))
    expect(await first).toBe(await second)
  })

  it('makes room before it loads', async () => {
    const cache = new SharedLru<ReturnType<typeof thing>>(1)
    const a = await cache.get('a', async () => thing('a'))
    await cache.get('b', async () => {
      expect(a.disposed).toBe(true)
      return thing('b')
    })
  })

  it('loads anew when a load was lost with its request', async () => {
    vi.useFakeTimers()
    try {
      const cache = new SharedLru<ReturnType<typeof thing>>(1)
      void cache.get('a', () => new Promise(() => {}))
      vi.advanceTimersByTime(31_000)
      expect((await cache.get('a', async () => thing('again'))).name).toBe('again')
    } finally {
      vi.useRealTimers()
    }
  })
})

describe('Gate', () => {
  it('lets one in at a time, in order, also after a failure', async () => {
    const gate = new Gate(10)
    const log: string[] = []
    const work = (name: string) => async () => {
      log.push(`${name} in`)
      await new Promise((done) => setTimeout(done, 1))
      log.push(`${name} out`)
      if (name === 'b') throw new Error('b')
    }
    await Promise.allSettled(['a', 'b', 'c'].map((name) => gate.run(work(name))))
    expect(log).toEqual(['a in', 'a out', 'b in', 'b out', 'c in', 'c out'])
  })

  it('refuses those for whom there is no room', async () => {
    const gate = new Gate(1)
    const { promise, resolve } = Promise.withResolvers<void>()
    const [first, second] = [gate.run(() => promise), gate.run(() => promise)]
    await expect(gate.run(() => promise)).rejects.toMatchObject({ code: 'overloaded' })
    resolve()
    await Promise.all([first, second])
    await gate.run(async () => {})
  })
})
