/** `cocoop-train export-onnx`: a model's towers, or a bundle's classifier, as ONNX graphs in a folder. */
import { createHash } from 'node:crypto'
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { nativeEngine, type OnnxExport, type OnnxManifest, type OnnxSpec } from 'cocoop/node'
import { z } from 'zod'
import { findBundle } from '../bundle-source.ts'
import { type Context, defineCommand } from '../command.ts'
import { TrainError } from '../errors.ts'
import { freeBytes, noSpace, toJson, writeDurably } from '../files.ts'
import { DEFAULT_MODEL, openModel } from '../models.ts'
import { formatBytes } from '../progress.ts'
import { STORE } from '../stores.ts'

const GRAPHS = { vision: ['vision'], text: ['text', 'prompt'] } as const satisfies Record<string, OnnxSpec['graph'][]>

export const exportOnnx = defineCommand({
  name: 'export-onnx',
  summary: "Write a model's towers, or a bundle's classifier, as ONNX graphs",
  details: [
    'For onnxruntime and other runtimes; `cocoop/onnx` runs every bundle on them (docs/onnx.md). The folder must be empty or new:',
    'it is written beside and renamed when it is whole.',
  ].join('\n'),
  flags: z.object({
    model: z.string().default(DEFAULT_MODEL).meta({ description: 'The model', value: 'NAME|DIR', positional: true }),
    out: z.string().meta({ description: 'The folder to write', value: 'DIR', short: 'o' }),
    towers: z
      .string()
      .regex(/^(vision|text)(,(vision|text))?$/, 'expected vision, text or vision,text')
      .optional()
      .meta({ description: 'Which towers (default vision,text; none with --bundle)', value: 'vision,text' }),
    bundle: z.string().optional().meta({
      description: 'Write the classifier of this bundle (zero-shot or coop) as one graph',
      value: 'FILE|RUN|NAME',
      short: 'b',
    }),
    dtype: z
      .enum(['f32', 'f16'])
      .default('f32')
      .meta({ description: 'How matrices are stored; graphs compute in f32' }),
    ...STORE,
  }),
  examples: [
    'cocoop-train export-onnx ./clip-vit-base-patch32 --out onnx/',
    'cocoop-train export-onnx ./clip-vit-base-patch32 --out onnx/ --towers vision --dtype f16',
    'cocoop-train export-onnx emoji-clip --bundle runs/mine --out classifier/',
  ],
  run: async (flags, context) => {
    const out = resolve(flags.out)
    await requireEmpty(out)
    const bundle = flags.bundle === undefined ? undefined : (await findBundle(flags.bundle, flags)).bytes
    using model = (await openModel(await nativeEngine(), flags.model, context)).model
    const towers = flags.towers ?? (bundle === undefined ? 'vision,text' : '')
    const graphs: OnnxSpec['graph'][] = (['vision', 'text'] as const)
      .filter((tower) => towers.split(',').includes(tower))
      .flatMap((tower) => [...GRAPHS[tower]])
    if (bundle !== undefined) graphs.push('classifier')
    // All are laid out before the first byte is written: what is missing is told at once.
    const exports: OnnxExport[] = []
    for (const graph of graphs) exports.push(await model.exportOnnx({ graph, dtype: flags.dtype }, bundle))
    const bytes = exports.flatMap(({ files }) => files).reduce((sum, file) => sum + file.bytes, 0)
    const free = await freeBytes(out)
    if (bytes > free) {
      const message = `${out} needs ${formatBytes(bytes)}, the disk has ${formatBytes(free)} left`
      throw new TrainError(
        'no_space',
        message,
        'Free some disk space, or write fewer bytes: --dtype f16, --towers vision.',
      )
    }
    const head = { format: 'cocoop-onnx', version: 1, model: model.info, dtype: flags.dtype } as const
    const manifest = await writeFolder(out, async (folder) => {
      const manifest = { ...head, files: await writeAll(folder, exports, bytes, context) }
      await writeDurably(join(folder, 'onnx.json'), toJson(manifest))
      return manifest
    })
    for (const file of manifest.files) context.print(`${join(flags.out, file.name)}  ${formatBytes(file.bytes)}`)
    return { out, ...manifest }
  },
})

/** Throws `exists` unless `folder` is empty or not there. */
async function requireEmpty(folder: string): Promise<void> {
  let found: string[] = []
  try {
    found = await readdir(folder)
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')) throw cause
  }
  if (found.length > 0)
    throw new TrainError('exists', `${folder} is not empty: it holds ${found[0]}`, 'Choose another --out.')
}

/** Fills a folder beside `out` and renames it when it is whole; otherwise nothing is left. */
async function writeFolder<T>(out: string, fill: (folder: string) => Promise<T>): Promise<T> {
  const beside = `${out}.${process.pid}.tmp`
  try {
    await mkdir(beside, { recursive: true })
    const result = await fill(beside)
    await rename(beside, out) // also onto an empty folder
    return result
  } catch (cause) {
    await rm(beside, { recursive: true, force: true })
    throw noSpace(out, cause)
  }
}

async function writeAll(
  folder: string,
  exports: OnnxExport[],
  total: number,
  { terminal, signal }: Context,
): Promise<OnnxManifest['files']> {
  const written: OnnxManifest['files'] = []
  let done = 0
  for (const graph of exports) {
    for (const [index, { name, bytes }] of graph.files.entries()) {
      const [hash, file] = [createHash('sha256'), await open(join(folder, name), 'wx')]
      try {
        for await (const part of graph.parts(index, { signal })) {
          hash.update(part)
          await file.appendFile(part)
          done += part.length
          terminal.status(`${name}  ${formatBytes(done)} of ${formatBytes(total)}`)
        }
        await file.sync()
      } finally {
        await file.close()
      }
      terminal.log(`${basename(name)}  ${formatBytes(bytes)}`)
      written.push({ name, bytes, sha256: hash.digest('hex') })
    }
  }
  return written
}
