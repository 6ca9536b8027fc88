/**
 * The embedded archives: store-only .zip files as scripts/embed writes them, held in memory, read in place.
 * Strict on purpose: entries lie one behind the other, both headers say the same, nothing is compressed, no path leads outside.
 * Layout: APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16. Not a reader for other people's archives.
 */
import { open } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { TrainError } from '../errors.ts'
import { type Files, peekOf, sortByCodePoint } from './dataset.ts'

const MAX_BYTES = 256 * 1024 * 1024
const [LOCAL, CENTRAL, END] = [0x04034b50, 0x02014b50, 0x06054b50]
const [LOCAL_BYTES, CENTRAL_BYTES, END_BYTES] = [30, 46, 22]

interface Entry {
  bytes: Buffer
  crc: number
}

export class Archive {
  readonly path: string
  readonly #entries: Map<string, Entry>

  private constructor(path: string, entries: Map<string, Entry>) {
    this.path = path
    this.#entries = entries
  }

  /**
   * Reads and checks the whole directory of the archive; the contents of a file are checked when it is read.
   * @throws TrainError `bad_data` if it is truncated, damaged or of another kind.
   */
  static async open(path: string): Promise<Archive> {
    const file = await open(path)
    try {
      const { size } = await file.stat()
      if (size > MAX_BYTES) throw damaged(path, `it has ${size} bytes, the limit is ${MAX_BYTES}`)
      return new Archive(path, readEntries(path, await file.readFile()))
    } finally {
      await file.close()
    }
  }

  /** Names of the folders at the top. */
  folders(): string[] {
    return below([...this.#entries.keys()], '', true)
  }

  /** The files below one folder of the archive. */
  files(folder: string): Files {
    const prefix = `${folder}/`
    const paths = [...this.#entries.keys()]
      .filter((path) => path.startsWith(prefix))
      .map((path) => path.slice(prefix.length))
    return {
      root: `${this.path}/${folder}`,
      files: async (inner) => below(paths, inner, false),
      folders: async (inner) => below(paths, inner, true),
      has: async (path) => this.#entries.has(prefix + path),
      read: async (path) => this.#read(prefix + path),
      peek: async (path) => peekOf(this.#read(prefix + path)),
    }
  }

  #read(path: string): Buffer {
    const entry = this.#entries.get(path)
    if (entry === undefined) throw new TrainError('bad_data', 'the archive holds no such file')
    if (crc32(entry.bytes) !== entry.crc) throw damaged(this.path, `the checksum of ${path} is wrong`)
    return entry.bytes
  }
}

/** Names of the files, or folders, that lie directly in `folder`. */
function below(paths: readonly string[], folder: string, folders: boolean): string[] {
  const prefix = folder === '' ? '' : `${folder}/`
  const inner = paths.filter((path) => path.startsWith(prefix)).map((path) => path.slice(prefix.length).split('/'))
  const names = inner.filter(({ length }) => length > 1 === folders).map(([name]) => name ?? '')
  return sortByCodePoint([...new Set(names)])
}

function readEntries(path: string, file: Buffer): Map<string, Entry> {
  const end = file.length - END_BYTES
  if (end < 0 || file.readUInt32LE(end) !== END) throw damaged(path, 'its end is missing')
  const [n, size, directory] = [file.readUInt16LE(end + 10), file.readUInt32LE(end + 12), file.readUInt32LE(end + 16)]
  if (directory + size !== end) throw damaged(path, 'its directory is not where its end says')
  const entries = new Map<string, Entry>()
  let [at, start] = [directory, 0]
  for (let i = 0; i < n; i++) {
    if (at + CENTRAL_BYTES > end || file.readUInt32LE(at) !== CENTRAL)
      throw damaged(path, `entry ${i} is not in the directory`)
    const [crc, stored, length] = [file.readUInt32LE(at + 16), file.readUInt32LE(at + 20), file.readUInt16LE(at + 28)]
    const name = file.toString('latin1', at + CENTRAL_BYTES, at + CENTRAL_BYTES + length)
    const bytes = start + LOCAL_BYTES + length
    if (!isPlain(name) || entries.has(name)) throw damaged(path, `the name ${JSON.stringify(name)} is not allowed`)
    if (file.readUInt32LE(at + 42) !== start || bytes + stored > directory) throw damaged(path, `${name} lies outside`)
    if (file.readUInt32LE(start) !== LOCAL || !sameHeader(file, at, start, length))
      throw damaged(path, `the headers of ${name} disagree`)
    if (!isStored(file, at)) throw damaged(path, `${name} is not stored plainly`)
    entries.set(name, { bytes: file.subarray(bytes, bytes + stored), crc })
    at += CENTRAL_BYTES + length
    start = bytes + stored
  }
  if (at !== end || start !== directory) throw damaged(path, 'it holds bytes that no entry owns')
  return entries
}

/** From the needed version to the lengths, 26 bytes, and the name, both headers hold the same. */
function sameHeader(file: Buffer, central: number, local: number, length: number): boolean {
  const name = file.subarray(central + CENTRAL_BYTES, central + CENTRAL_BYTES + length)
  return (
    file.subarray(central + 6, central + 32).equals(file.subarray(local + 4, local + LOCAL_BYTES)) &&
    name.equals(file.subarray(local + LOCAL_BYTES, local + LOCAL_BYTES + length))
  )
}

/** No flags, method 0, both sizes alike, no extra field, no comment. */
function isStored(file: Buffer, at: number): boolean {
  const zeros = [8, 10, 30, 32].every((field) => file.readUInt16LE(at + field) === 0)
  return zeros && file.readUInt32LE(at + 20) === file.readUInt32LE(at + 24)
}

function isPlain(name: string): boolean {
  const parts = name.split('/')
  return (
    /^[\x20-\x7e]+$/.test(name) &&
    !/[\\:]/.test(name) &&
    parts.every((part) => part !== '' && part !== '.' && part !== '..')
  )
}

function damaged(path: string, why: string): TrainError {
  return new TrainError(
    'bad_data',
    `${path} is truncated or damaged: ${why}`,
    'Get the file again, for example with `git checkout`.',
  )
}
