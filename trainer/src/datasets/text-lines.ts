/** Text files of one entry per line, as the papers' sets come with. */
import { TrainError } from '../errors.ts'
import type { Files } from './dataset.ts'

/** A line without the space around it; `where` names it in messages. */
export interface Line {
  text: string
  where: string
}

/**
 * The lines of a file that are not empty.
 * @throws TrainError `bad_data` if there are none; what the file system throws
 */
export async function linesOf(files: Files, path: string): Promise<Line[]> {
  const text = Buffer.from(await files.read(path)).toString('utf8')
  const lines = text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .map((line, i) => ({ text: line.trim(), where: `${files.root}/${path}, line ${i + 1}` }))
    .filter((line) => line.text !== '')
  if (lines.length === 0) throw new TrainError('bad_data', `${files.root}/${path} is empty`)
  return lines
}
