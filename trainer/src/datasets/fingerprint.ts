/** One hash that says which data a prompt was trained on: any other byte, path, label, class name or split changes it. */
import { createHash } from 'node:crypto'
import { sha256 } from '../files.ts'
import { type Dataset, everyItem } from './dataset.ts'

const AT_ONCE = 16

/**
 * SHA-256, lower-case hexadecimal, of one line per image in the order train, val, test:
 * the JSON array [split, path, label, class name, SHA-256 of the file]. Reads every image once.
 * @throws TrainError `bad_data` for a file that cannot be read.
 */
export async function fingerprint(dataset: Dataset): Promise<string> {
  const hash = createHash('sha256')
  const items = [...everyItem(dataset)]
  for (let i = 0; i < items.length; i += AT_ONCE) {
    const lines = items.slice(i, i + AT_ONCE).map(async ({ split, item }) => {
      return JSON.stringify([split, item.path, item.label, item.classname, sha256(await item.read())])
    })
    for (const line of await Promise.all(lines)) hash.update(`${line}\n`)
  }
  return hash.digest('hex')
}
