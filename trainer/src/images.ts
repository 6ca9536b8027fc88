/** Reads images and turns them into features. An image that cannot be read stops the work and is named, or is left out if asked. */
import type { CallOptions, EngineModel } from 'cocoop/node'
import type { Context } from './command.ts'
import { codeOf, TrainError } from './errors.ts'
import { Countdown } from './progress.ts'
import type { Selected } from './select.ts'

/** Images that are read and decoded at a time. */
const BATCH = 32

export interface ReadOptions extends Pick<Context, 'terminal' | 'signal'> {
  skipBad: boolean
}

/** An image to be. */
export interface Readable {
  path: string
  read: () => Promise<Uint8Array>
}

/** An image that cannot be used: its place in the selection, and why. */
export interface Bad {
  index: number
  code: string
  message: string
}

/** What makes features of images; only the addon gives those that are not normalised. */
export interface Encoding {
  info: Pick<EngineModel['info'], 'embed_dim'>
  embedImages(
    images: Uint8Array[],
    options: CallOptions & { normalized?: boolean },
  ): ReturnType<EngineModel['embedImages']>
}

/** Selected images with their features, (n, embed_dim). */
export interface Embedded extends Selected {
  features: Float32Array
}

/**
 * The bytes of all images, each proven to decode.
 * @throws TrainError with the word of the first bad image, unless `skipBad`.
 */
export async function readAll(
  model: EngineModel,
  selected: Selected,
  options: ReadOptions,
): Promise<Selected & { images: Uint8Array[] }> {
  const images: Uint8Array[] = []
  const bad: Bad[] = []
  for (const start of starts(selected.items)) {
    options.signal.throwIfAborted()
    const read = await readSome(selected.items, start)
    const found = (await model.inspectImages(read.images)).flatMap((found) => ('code' in found ? [found] : []))
    bad.push(...read.bad, ...notRead(found, read.images, start))
    images.push(...read.images)
    options.terminal.status(`reading images ${images.length}/${selected.items.length}`)
  }
  const keep = judge(selected, bad, options)
  return { ...pick(selected, keep), images: images.filter((_, i) => keep[i]) }
}

/**
 * The features of all images.
 * @throws TrainError with the word of the first bad image, unless `skipBad`.
 */
export async function embedAll(
  model: Encoding,
  selected: Selected,
  options: ReadOptions,
  normalized = true,
): Promise<Embedded> {
  const width = model.info.embed_dim
  const features = new Float32Array(selected.items.length * width)
  const bad: Bad[] = []
  const countdown = new Countdown(selected.items.length)
  countdown.line(0)
  for await (const some of embedEach(model, selected.items, options.signal, normalized)) {
    bad.push(...some.bad)
    features.set(some.features, some.start * width)
    options.terminal.status(`encoding images ${countdown.line(some.start + some.items.length)}`)
  }
  const keep = judge(selected, bad, options)
  const rows = selected.items.flatMap((_, i) => (keep[i] ? [features.subarray(i * width, (i + 1) * width)] : []))
  const kept = new Float32Array(rows.length * width)
  for (const [i, row] of rows.entries()) kept.set(row, i * width)
  return { ...pick(selected, keep), features: kept }
}

/** Images with their features (n, embed_dim); the rows of `bad` ones, whose index counts from the first of all, are 0. */
export interface EmbeddedBatch<T> {
  start: number
  items: readonly T[]
  features: Float32Array
  bad: Bad[]
}

/** The features of images, some at a time and in their order. The next files are read while these are computed. */
export async function* embedEach<T extends Readable>(
  model: Encoding,
  items: readonly T[],
  signal: AbortSignal,
  normalized = true,
): AsyncGenerator<EmbeddedBatch<T>> {
  let next = readSome(items, 0)
  for (const start of starts(items)) {
    const read = await next
    next = readSome(items, start + BATCH)
    const { features, bad } = await model.embedImages(read.images, { signal, normalized })
    const all = [...read.bad, ...notRead(bad, read.images, start)].sort((a, b) => a.index - b.index)
    yield { start, items: items.slice(start, start + BATCH), features, bad: all }
  }
}

function starts(items: readonly unknown[]): number[] {
  return Array.from({ length: Math.ceil(items.length / BATCH) }, (_, i) => i * BATCH)
}

/** An image whose file cannot be read becomes an entry of `bad` and no bytes. */
async function readSome(items: readonly Readable[], start: number): Promise<{ images: Uint8Array[]; bad: Bad[] }> {
  const bad: Bad[] = []
  const read = items.slice(start, start + BATCH).map(async (item, i) => {
    try {
      const bytes = await item.read()
      if (bytes.length === 0) bad.push({ index: start + i, code: 'bad_image', message: 'the file is empty' })
      return bytes
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause)
      bad.push({ index: start + i, code: codeOf(cause), message })
      return new Uint8Array()
    }
  })
  return { images: await Promise.all(read), bad }
}

/** The engine's bad images counted from the first of all; those without bytes are in the list already. */
function notRead(found: readonly Bad[], images: readonly Uint8Array[], start: number): Bad[] {
  return found.filter(({ index }) => images[index]?.length).map((bad) => ({ ...bad, index: start + bad.index }))
}

/** Which images to keep. Throws for the first bad one, or warns of each. */
function judge({ items }: Selected, bad: Bad[], { skipBad, terminal }: ReadOptions): boolean[] {
  bad.sort((a, b) => a.index - b.index)
  const lines = bad.map(({ index, message }) => {
    const item = items[index]
    return message.includes(item?.path ?? '') ? message : `${item?.path} (class "${item?.classname}"): ${message}`
  })
  const [first] = bad
  if (first !== undefined && !skipBad) {
    const more = bad.length > 1 ? `, and ${bad.length - 1} more: ${lines.slice(1, 4).join('; ')}` : ''
    throw new TrainError(
      first.code,
      `${lines[0]}${more}`,
      'Repair or remove the file, or go on without it by --skip-bad.',
    )
  }
  terminal.clear()
  for (const line of lines) terminal.warn(`left out: ${line}`)
  const out = new Set(bad.map(({ index }) => index))
  if (out.size === items.length) throw new TrainError('bad_data', 'none of the images can be read')
  return items.map((_, i) => !out.has(i))
}

function pick({ classnames, items, labels }: Selected, keep: readonly boolean[]): Selected {
  return { classnames, items: items.filter((_, i) => keep[i]), labels: labels.filter((_, i) => keep[i]) }
}
