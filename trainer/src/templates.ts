/** Templates by what a user types: the name of a published set, a file with one on each line, or a text with `{}`. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { CocoopError, parseTemplate, TEMPLATE_SETS, templateSet } from 'cocoop/node'
import { z } from 'zod'
import { TrainError } from './errors.ts'
import { nearest } from './flags.ts'

const LIST = '`cocoop-train templates` lists the sets.'

/** The flag of every command that fills class names into templates. */
export const TEMPLATES = {
  templates: z.array(z.string()).default([]).meta({
    description: 'Named set of templates, file with one on each line, or text with {} for the class name',
    value: 'SET|FILE|TEXT',
  }),
}

/**
 * The templates that `words` name, in their order, each once.
 * @throws TrainError `not_found` for a word that names none; `usage` for a template without a place for the class name
 */
export async function readTemplates(words: readonly string[]): Promise<string[]> {
  const lists = await Promise.all(words.map(readOne))
  return [...new Set(lists.flat())]
}

async function readOne(word: string): Promise<readonly string[]> {
  const set = templateSet(word)
  if (set !== undefined) return set
  if (/[{}]/.test(word)) return [parse(word)]
  if (existsSync(word)) {
    const lines = (await readFile(word, 'utf8')).split(/\r?\n/).map((line) => line.trim())
    const templates = lines.filter((line) => line !== '' && !line.startsWith('#'))
    if (templates.length === 0) throw new TrainError('usage', `${word} holds no templates`, LIST)
    return templates.map((line) => parse(line, word))
  }
  const near = nearest(word, [...TEMPLATE_SETS.keys()])
  const hint = `${near === undefined ? '' : `Did you mean ${near}? `}${LIST} A text of your own needs {} where the class name goes.`
  throw new TrainError('not_found', `there are no templates called ${word}, and no such file`, hint)
}

function parse(text: string, file?: string): string {
  try {
    return parseTemplate(text)
  } catch (cause) {
    if (!CocoopError.is(cause)) throw cause
    throw new TrainError('usage', `${file === undefined ? '' : `${file}: `}${cause.message}`, LIST, { cause })
  }
}
