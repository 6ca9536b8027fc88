/** Reads images and turns them into features. An image that cannot be read stops the work and is named, or is left out if asked. */
import type { EngineModel } from 'cocoop/node'
import type { Context } from './command.ts'
import { codeOf, TrainError } from './errors.ts'
import type { Selected } from './select.ts'

/** Images that are read and decoded at a time. */
const BATCH = 64

export interface ReadOptions extends Pick<Context, 'terminal' | 'signal'> {
  skipBad: boolean
}

/** An image that cannot be used: its place in the selection, and why. */
interface Bad {
  index: number
  code: string
  message: string
}

/** Selected images with their features, (n, embed_dim), L2-normalised. */
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
  for (const start of starts(selected)) {
    options.signal.throwIfAborted()
    const read = await readSome(selected, start, bad)
    for (const found of await model.inspectImages(read)) {
      // An image that could not be read is in the list already, and empty here.
      if ('code' in found && read[found.index]?.length) bad.push({ ...found, index: start + found.index })
    }
    images.push(...read)
    options.terminal.status(`reading images ${images.length}/${selected.items.length}`)
  }
  const keep = judge(selected, bad, options)
  return { ...pick(selected, keep), images: images.filter((_, i) => keep[i]) }
}

/**
 * The features of all images.
 * @throws TrainError with the word of the first bad image, unless `skipBad`.
 */
export async function embedAll(model: EngineModel, selected: Selected, options: ReadOptions): Promise<Embedded> {
  const width = model.info.embed_dim
  const features = new Float32Array(selected.items.length * width)
  const bad: Bad[] = []
  for (const start of starts(selected)) {
    const images = await readSome(selected, start, bad)
    const embedded = await model.embedImages(images, { signal: options.signal })
    for (const found of embedded.bad)
      if (images[found.index]?.length) bad.push({ ...found, index: start + found.index })
    features.set(embedded.features, start * width)
    options.terminal.status(`reading images ${start + images.length}/${selected.items.length}`)
  }
  const keep = judge(selected, bad, options)
  const rows = selected.items.flatMap((_, i) => (keep[i] ? [features.subarray(i * width, (i + 1) * width)] : []))
  const kept = new Float32Array(rows.length * width)
  for (const [i, row] of rows.entries()) kept.set(row, i * width)
  return { ...pick(selected, keep), features: kept }
}

function starts({ items }: Selected): number[] {
  return Array.from({ length: Math.ceil(items.length / BATCH) }, (_, i) => i * BATCH)
}

/** An image whose file cannot be read becomes an entry of `bad` and no bytes. */
async function readSome({ items }: Selected, start: number, bad: Bad[]): Promise<Uint8Array[]> {
  const some = items.slice(start, start + BATCH)
  return Promise.all(
    some.map(async (item, i) => {
      try {
        const bytes = await item.read()
        if (bytes.length === 0) bad.push({ index: start + i, code: 'bad_image', message: 'the file is empty' })
        return bytes
      } catch (cause) {
        bad.push({
          index: start + i,
          code: codeOf(cause),
          message: cause instanceof Error ? cause.message : String(cause),
        })
        return new Uint8Array()
      }
    }),
  )
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
