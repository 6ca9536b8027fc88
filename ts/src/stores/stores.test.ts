/** The same promises of every store that runs here; KvStore's are tested on real KV in worker/. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Store } from '../store.ts'
import { FsStore } from './fs.ts'
import { MemoryStore } from './memory.ts'

const folder = await mkdtemp(join(tmpdir(), 'cocoop-store-'))
afterAll(() => rm(folder, { recursive: true }))
const bytes = (text: string) => new TextEncoder().encode(text)

describe.each<[string, Store]>([
  ['MemoryStore', new MemoryStore()],
  ['FsStore', new FsStore(join(folder, 'made', 'later'))],
])('%s', (_, store) => {
  it('holds what was put, whole, until it is deleted', async () => {
    expect(await store.get('bundle/a')).toBeNull()
    expect(await store.list('')).toEqual([])
    const value = bytes('first')
    await store.put('bundle/a', value)
    value.fill(0)
    expect(await store.get('bundle/a')).toEqual(bytes('first'))
    await store.put('bundle/a', bytes('second'))
    expect(await store.get('bundle/a')).toEqual(bytes('second'))
    await store.delete('bundle/a')
    await store.delete('bundle/a')
    expect(await store.get('bundle/a')).toBeNull()
  })

  it('lists by prefix, sorted', async () => {
    for (const key of ['model/x/manifest', 'bundle/b', 'bundle/a@1', 'bundle/a']) await store.put(key, bytes(key))
    expect(await store.list('bundle/')).toEqual(['bundle/a', 'bundle/a@1', 'bundle/b'])
    expect(await store.list('bundle/a@')).toEqual(['bundle/a@1'])
    expect(await store.list('model/')).toEqual(['model/x/manifest'])
    expect(await store.list('nothing')).toEqual([])
  })

  it('gives each reader bytes of its own', async () => {
    await store.put('bundle/own', bytes('same'))
    ;(await store.get('bundle/own'))?.fill(0)
    expect(await store.get('bundle/own')).toEqual(bytes('same'))
  })
})

describe('FsStore', () => {
  it.each(['../a', 'a/../../b', '/etc/passwd', 'a//b', '.hidden', '', 'a/..', 'a\0b'])(
    'refuses the key %j',
    async (key) => {
      await expect(new FsStore(folder).get(key)).rejects.toMatchObject({ code: 'bad_option' })
      await expect(new FsStore(folder).put(key, bytes(''))).rejects.toMatchObject({ code: 'bad_option' })
    },
  )

  it('leaves nothing behind when a write fails', async () => {
    const root = join(folder, 'full')
    const store = new FsStore(root)
    await store.put('bundle/a/b', bytes('x'))
    await expect(store.put('bundle/a', bytes('a folder is there'))).rejects.toMatchObject({ code: 'io' })
    expect(await readdir(join(root, 'bundle'))).toEqual(['a'])
  })

  it('reads to where the value is wanted, also while that memory grows, and what has no room there elsewhere', async () => {
    const store = new FsStore(join(folder, 'placed'))
    const value = Uint8Array.from({ length: 1_500_000 }, (_, i) => i * i)
    await store.put('a', value)
    const memory = new WebAssembly.Memory({ initial: 24 })
    const room = 1_400_000
    const place = (offset: number) => new Uint8Array(memory.buffer, 77 + offset, room - offset)
    const chunks: [length: number, placed: boolean][] = []
    const reader = ((await store.stream('a', place)) as ReadableStream<Uint8Array>).getReader()
    for (;;) {
      const reading = reader.read()
      memory.grow(1)
      const { done, value: chunk } = await reading
      if (done) break
      chunks.push([chunk.length, chunk.buffer === memory.buffer])
    }
    expect(chunks).toEqual([
      [1024 * 1024, true],
      [room - 1024 * 1024, true],
      [value.length - room, false],
    ])
    expect(Buffer.compare(new Uint8Array(memory.buffer, 77, room), value.subarray(0, room))).toBe(0)
  })

  it('does not take a half-written file for a value', async () => {
    const root = join(folder, 'half')
    const store = new FsStore(root)
    await store.put('bundle/a', bytes('x'))
    await writeFile(join(root, 'bundle', 'b.0.part'), 'x')
    expect(await store.list('bundle/')).toEqual(['bundle/a'])
  })
})
