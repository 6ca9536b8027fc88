/** The two ways to KV, the platform proxy and wrangler's commands, on one local state. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { BINDING, openStore, remoteKv } from './stores.ts'

const home = mkdtempSync(join(tmpdir(), 'cocoop-kv-'))
const config = (binding: string) => {
  const file = join(home, `${binding}.toml`)
  writeFileSync(file, `name = "test"\ncompatibility_date = "2026-10-01"\n\n[[kv_namespaces]]\nbinding = "${binding}"\n`)
  return file
}
const flags = (wrangler: string) => ({ wrangler, kv: 'local' as const, store: undefined })
const bytes = Uint8Array.from({ length: 3000 }, (_, i) => i % 256)

test('what one writes the other reads, byte for byte', async () => {
  const file = config(BINDING)
  const commands = remoteKv(file, true).store
  {
    await using open = await openStore(flags(file))
    await open.store.put('bundle/a@1', bytes)
  }
  expect(await commands.get('bundle/a@1')).toEqual(bytes)
  expect(await commands.get('bundle/a')).toBeNull()
  await commands.put('bundle/a', Uint8Array.of(0, 255, 10))
  expect(await commands.list('bundle/')).toEqual(['bundle/a', 'bundle/a@1'])
  await commands.delete('bundle/a@1')
  {
    await using open = await openStore(flags(file))
    expect(await open.store.get('bundle/a')).toEqual(Uint8Array.of(0, 255, 10))
    expect(await open.store.list('')).toEqual(['bundle/a'])
  }
}, 120_000)

test('a wrangler.toml that is missing, or has no such binding, is named', async () => {
  await expect(openStore(flags('/nowhere/wrangler.toml'))).rejects.toMatchObject({
    code: 'not_found',
    message: expect.stringContaining('/nowhere/wrangler.toml'),
  })
  await expect(openStore(flags(config('OTHER')))).rejects.toMatchObject({
    code: 'not_found',
    message: expect.stringContaining(BINDING),
  })
}, 60_000)
