/** The texts that `embed` and `score` are given: in the command line, or one on each line of a file. */
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import { TrainError } from './errors.ts'

export const TEXTS = {
  text: z.array(z.string()).default([]).meta({ description: 'A text' }),
  texts: z
    .string()
    .optional()
    .meta({ description: 'A file of texts, one on each line; - is standard input', value: 'FILE' }),
  truncate: z.boolean().default(false).meta({ description: "Cut texts that are longer than the model's context" }),
}
export type TextFlags = z.output<z.ZodObject<typeof TEXTS>>

/**
 * The texts of the flags, then those of the file.
 * @throws TrainError `bad_data` for an empty line
 */
export async function* textsOf({ text, texts }: Pick<TextFlags, 'text' | 'texts'>): AsyncGenerator<string> {
  yield* text
  if (texts === undefined) return
  await using file = texts === '-' ? undefined : await open(texts)
  let number = 0
  for await (const line of file?.readLines() ?? createInterface({ input: process.stdin })) {
    number += 1
    const where = `${texts === '-' ? 'standard input' : texts}, line ${number}`
    if (line.trim() === '')
      throw new TrainError('bad_data', `${where}: there is no text`, 'One text stands on each line.')
    yield line
  }
}

/** So many at a time. */
export async function* batches<T>(source: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let some: T[] = []
  for await (const one of source) {
    some.push(one)
    if (some.length < size) continue
    yield some
    some = []
  }
  if (some.length > 0) yield some
}
