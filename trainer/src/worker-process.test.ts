import { mkdtempSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { startWorker } from './worker-process.ts'

const home = mkdtempSync(join(tmpdir(), 'cocoop-worker-'))
const log = join(home, 'worker.log')
const signal = AbortSignal.timeout(60_000)

test('a port that is in use is named; the server that has it is not taken for the worker', async () => {
  const server = createServer((_request, response) => response.end('ok'))
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as { port: number }
  const start = startWorker({ config: join(home, 'wrangler.toml'), log, port, signal })
  await expect(start).rejects.toMatchObject({ code: 'worker_failed', message: `port ${port} is in use` })
  server.close()
})

test('a worker that cannot start leaves its last words', async () => {
  const config = join(home, 'wrangler.toml')
  writeFileSync(config, 'name = "x"\nmain = "nothing.ts"\ncompatibility_date = "2026-10-01"\n')
  await expect(startWorker({ config, log, signal })).rejects.toMatchObject({
    code: 'worker_failed',
    message: expect.stringMatching(/the worker ended while it started:\n[\s\S]*nothing\.ts/),
  })
}, 60_000)
