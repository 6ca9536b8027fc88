/** `cocoop-train doctor`: is everything there that the other commands need? One line each, and what to do. */
import { accessSync, constants, readFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { resolve } from 'node:path'
import { nativeEngine, wasmEngine } from 'cocoop/node'
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { namedDatasets } from '../datasets/open.ts'
import { EXIT } from '../errors.ts'
import { freeBytes } from '../files.ts'
import { DEFAULT_MODEL, readModel } from '../models.ts'
import { formatBytes } from '../progress.ts'
import { findWrangler, findWranglerConfig } from '../stores.ts'

const DISK_BYTES = 500_000_000

/** One thing that is looked at: `check` says what is there, or throws. */
interface Check {
  name: string
  /** What to do if `check` throws. */
  remedy: string
  /** Without it only a part of the commands works. */
  optional?: boolean
  check: () => string | Promise<string>
}

const CHECKS: readonly Check[] = [
  { name: 'Node.js', remedy: '', check: () => process.version }, // the command refuses one that is too old
  {
    name: 'native addon',
    remedy: '`npm run build` in the clone builds it; without it nothing can be trained.',
    check: async () => `${(await nativeEngine()).version()}, ${availableParallelism()} threads, ${cpu()}`,
  },
  {
    name: 'WASM, simd128',
    remedy: '`npm run build` in the clone builds it.',
    check: async () => (await wasmEngine('simd')).version(),
  },
  {
    name: 'WASM, relaxed SIMD',
    remedy: 'This Node.js lacks relaxed SIMD; the simd128 module is used instead.',
    optional: true,
    check: async () => (await wasmEngine('relaxed')).version(),
  },
  {
    name: 'model',
    remedy: 'Run in the clone, or name a model by --model DIR.',
    optional: true,
    check: async () => {
      const { folder, weights } = await readModel(DEFAULT_MODEL)
      return `${folder}, ${formatBytes(weights.length)}; it knows drawings, not photographs`
    },
  },
  {
    name: 'data sets',
    remedy: 'Run in the clone, or import your own: `cocoop-train dataset import DIR`.',
    optional: true,
    check: async () => {
      const names = (await namedDatasets()).map(({ name }) => name)
      if (names.length === 0) throw new Error('none')
      return names.join(', ')
    },
  },
  {
    name: 'wrangler',
    remedy: '`npm install wrangler`; needed for Workers KV and `wrangler dev` only.',
    optional: true,
    check: () => `${findWrangler()}, ${findWranglerConfig()}`,
  },
  {
    name: 'write permission',
    remedy: 'Change to a folder that you may write to, or name one by --out.',
    check: () => {
      accessSync('.', constants.W_OK)
      return resolve('.')
    },
  },
  {
    name: 'free disk',
    remedy: `Free some space: ${formatBytes(DISK_BYTES)} are plenty for small models.`,
    check: async () => {
      const free = await freeBytes('.')
      if (free < DISK_BYTES) throw new Error(`${formatBytes(free)} only`)
      return formatBytes(free)
    },
  },
]

export const doctor = defineCommand({
  name: 'doctor',
  summary: 'Check that everything needed is there',
  flags: z.object({}),
  examples: ['cocoop-train doctor', 'cocoop-train doctor --json'],
  run: async (_flags, { print, exit, terminal }) => {
    const found = []
    for (const { name, remedy, optional = false, check } of CHECKS) {
      try {
        const text = await check()
        print(`${terminal.paint('green', 'ok     ')}  ${name}: ${text}`)
        found.push({ name, ok: true, optional, text })
      } catch (cause) {
        const text = cause instanceof Error ? cause.message : String(cause)
        print(
          `${optional ? terminal.paint('yellow', 'without') : terminal.paint('red', 'MISSING')}  ${name}: ${text}\n         ${remedy}`,
        )
        found.push({ name, ok: false, optional, text, remedy })
      }
    }
    if (found.some(({ ok, optional }) => !ok && !optional)) exit(EXIT.failure)
    return found
  },
})

/** The processor and those of its features that the kernels use. */
function cpu(): string {
  const model = cpus()[0]?.model.trim() ?? process.arch
  try {
    const flags = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.split(' ') ?? []
    const known = ['avx2', 'fma', 'avx512f', 'avx512_vnni', 'avx_vnni'].filter((name) => flags.includes(name))
    return known.length > 0 ? `${model} with ${known.join(', ')}` : model
  } catch {
    return model // not Linux: the name must do
  }
}
