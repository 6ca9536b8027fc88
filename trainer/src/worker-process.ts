/** Runs the worker as a child: `wrangler dev` on the local KV, stopped cleanly, its output kept in a file. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import { TrainError } from './errors.ts'
import { findWrangler, WRANGLER_ENV } from './stores.ts'

const READY_MS = 60_000
const STOP_MS = 5000

export interface WorkerProcess extends AsyncDisposable {
  url: string
  /** Resolves when the worker ends by itself. */
  ended: Promise<void>
}

/**
 * Starts the worker of `config` (a wrangler.toml) and waits until /health/ready answers.
 * @param log the file that takes its output
 * @throws TrainError `worker_failed` with the last lines of that file.
 */
export async function startWorker({
  config,
  log,
  port,
  signal,
}: {
  config: string
  log: string
  port?: number | undefined
  signal: AbortSignal
}): Promise<WorkerProcess> {
  const chosen = port === undefined ? await freePort(8787) : await requireFree(port)
  const url = `http://127.0.0.1:${chosen}`
  const output = openSync(log, 'w')
  const flags = [
    '--local',
    '--ip',
    '127.0.0.1',
    '--port',
    String(chosen),
    '--inspector-port',
    '0',
    '--show-interactive-dev-session=false',
  ]
  // Its own process group: Ctrl-C reaches this process alone, which then stops the whole group.
  const child = spawn(process.execPath, [findWrangler(), 'dev', '--config', config, ...flags], {
    cwd: dirname(config),
    detached: true,
    stdio: ['ignore', output, output],
    env: { ...process.env, ...WRANGLER_ENV },
  })
  closeSync(output)
  const ended = new Promise<void>((done) => child.once('exit', () => done()))
  const killAll = () => killGroup(child)
  process.on('exit', killAll)
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGINT')
      await Promise.race([ended, sleep(STOP_MS, undefined, { ref: false })])
    }
    killAll()
    process.off('exit', killAll)
  }
  try {
    await ready(url, child, log, signal)
  } catch (error) {
    await stop()
    throw error
  }
  return { url, ended, [Symbol.asyncDispose]: stop }
}

async function ready(url: string, child: ChildProcess, log: string, signal: AbortSignal): Promise<void> {
  const end = performance.now() + READY_MS
  let last = 'no answer'
  while (performance.now() < end) {
    signal.throwIfAborted()
    if (child.exitCode !== null || child.signalCode !== null) throw failed('the worker ended while it started', log)
    try {
      const response = await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(10_000) })
      if (response.ok) return
      last = `${response.status} ${(await response.text()).slice(0, 300)}`
    } catch (cause) {
      last = cause instanceof Error ? cause.message : String(cause)
    }
    await sleep(200)
  }
  throw failed(`the worker was not ready after ${READY_MS / 1000} s (${last})`, log)
}

function failed(message: string, log: string): TrainError {
  const lines = stripVTControlCharacters(readFileSync(log, 'utf8')).split('\n')
  const tail = lines
    .filter((line) => line.trim() !== '')
    .slice(-5)
    .join('\n')
  return new TrainError(
    'worker_failed',
    `${message}:\n${tail}`,
    `All of its output is in ${log}. \`cocoop-train doctor\` checks what it needs.`,
  )
}

/** workerd outlives a wrangler that was killed; the group does not. */
function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // There is no such group any more: that is what was wanted.
  }
}

/** Another server at the port would otherwise be taken for the worker. */
async function requireFree(port: number): Promise<number> {
  if ((await tryPort(port)) !== undefined) return port
  throw new TrainError(
    'worker_failed',
    `port ${port} is in use`,
    'Choose another --port, or leave it out to get a free one.',
  )
}

/** `wanted` if it is free, else any free port. */
async function freePort(wanted: number): Promise<number> {
  return (await tryPort(wanted)) ?? (await tryPort(0)) ?? wanted
}

function tryPort(port: number): Promise<number | undefined> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', () => done(undefined))
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => done(typeof address === 'object' && address !== null ? address.port : undefined))
    })
  })
}
