/** Reads images one after the other, whatever their number, and checks that each can be decoded. */
import type { EngineModel } from 'cocoop/node'
import { TrainError } from '../errors.ts'
import type { Item } from './dataset.ts'

const AT_ONCE = 64

/** The part of the engine's model that looks at images. */
export type Inspector = Pick<EngineModel, 'inspectImages'>

/** An image that was left out, and why. */
export interface Skipped {
  item: Item
  code: string
  message: string
}

/** An image that can be used. Width and height in pixels. */
export interface ReadItem<T extends Item> {
  item: T
  /** Its place in the list. */
  index: number
  bytes: Uint8Array
  width: number
  height: number
}

export interface ReadOptions {
  /** Leave bad images out instead of stopping at the first. */
  skipBad?: boolean | undefined
  /** Told of every image that is left out. */
  onSkip?: ((skipped: Skipped) => void) | undefined
  /** Told how many images were read so far. */
  onProgress?: ((done: number) => void) | undefined
  signal?: AbortSignal | undefined
}

/**
 * Yields the usable images in their order, a few at a time in memory.
 * @throws TrainError with the engine's word (or `bad_data`), naming the file and its class, for the first bad image unless `skipBad`.
 */
export async function* readEach<T extends Item>(
  items: readonly T[],
  inspector: Inspector,
  options: ReadOptions = {},
): AsyncGenerator<ReadItem<T>> {
  for (let start = 0; start < items.length; start += AT_ONCE) {
    options.signal?.throwIfAborted()
    const some = items.slice(start, start + AT_ONCE)
    const read = await Promise.allSettled(some.map((item) => item.read()))
    const images = read.map((result) => (result.status === 'fulfilled' ? result.value : new Uint8Array()))
    const verdicts = new Map((await inspector.inspectImages(images)).map((verdict) => [verdict.index, verdict]))
    for (const [i, item] of some.entries()) {
      const [result, verdict, bytes] = [read[i], verdicts.get(i), images[i]]
      if (result?.status === 'rejected') skipOrThrow(item, result.reason, options)
      else if (verdict === undefined || bytes === undefined)
        throw new Error('the engine gave no verdict on an image') // its bug
      else if ('code' in verdict)
        skipOrThrow(
          item,
          new TrainError(verdict.code, `${item.source} of class "${item.classname}": ${verdict.message}`),
          options,
        )
      else yield { item, index: start + i, bytes, width: verdict.width, height: verdict.height }
    }
    options.onProgress?.(start + some.length)
  }
}

function skipOrThrow(item: Item, error: unknown, { skipBad = false, onSkip }: ReadOptions): void {
  if (!skipBad || !(error instanceof TrainError)) throw error
  onSkip?.({ item, code: error.code, message: error.message })
}
