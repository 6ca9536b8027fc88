/**
 * Hugging Face's parquet files of images: a column of images {bytes, path} and one of labels, whose names stand in the file's metadata.
 * The labels are read at once, images by row group when they are asked for; the groups that were read last stay in memory.
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import * as zlib from 'node:zlib'
import { type Compressors, type FileMetaData, parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet'
import { TrainError } from '../errors.ts'
import { cut } from './cut.ts'
import { type Dataset, type Files, lists, peekOf, type Split, splitOf, withLabels } from './dataset.ts'
import { visibleFolders } from './folders.ts'

/** Bytes of row groups that are held. */
const HELD = 256 * 1024 * 1024
/** Folders below the set's own in which files are looked for: data/, default/train/. Where there are many they are classes. */
const [DEPTH, FEW] = [2, 16]

/** What hyparquet lacks and Node.js has. */
const COMPRESSORS: Compressors = {
  GZIP: (bytes) => zlib.gunzipSync(bytes),
  BROTLI: (bytes) => zlib.brotliDecompressSync(bytes),
  ZSTD: (bytes) => {
    if (typeof zlib.zstdDecompressSync !== 'function') throw new Error('zstd needs Node.js 22.15 or later')
    return zlib.zstdDecompressSync(bytes)
  },
}

/** Paths of the parquet files below `files`, in code-point order. */
export async function parquetFiles(files: Files, folder = '', depth = DEPTH): Promise<string[]> {
  const below = (name: string) => (folder === '' ? name : `${folder}/${name}`)
  const here = (await files.files(folder)).filter((name) => /^[^.].*\.parquet$/i.test(name)).map(below)
  const folders = depth === 0 ? [] : await visibleFolders(files, folder)
  if (folders.length > FEW) return here
  const deeper = await Promise.all(folders.map((name) => parquetFiles(files, below(name), depth - 1)))
  return [...here, ...deeper.flat()]
}

/**
 * Reads the set that lies in parquet files of one folder. Their names or folders say the splits (`train-00000-of-00002.parquet`,
 * `test/0000.parquet`); where they do not, every class is cut.
 * @throws TrainError `bad_data` or `bad_classes`, naming the file
 */
export async function readParquet(
  root: string,
  paths: readonly string[],
  name: string,
  seed: number,
): Promise<Dataset> {
  const shards = await Promise.all(paths.map((path) => Shard.open(root, path)))
  const splits = shards.map(({ path }) => splitOfFile(path))
  const given = splits.some((split) => split !== undefined)
  const odd = splits.indexOf(undefined)
  if (given && odd >= 0)
    throw new TrainError('bad_data', `${join(root, paths[odd] ?? '')}: its name says no split, others' do`)
  const images = shards.flatMap((shard, i) =>
    shard.labels.flatMap(({ row, label }) => {
      const path = `${shard.path.replace(/\.parquet$/i, '')}/${String(row).padStart(6, '0')}`
      return [{ path, label, split: splits[i] ?? ('train' as Split) }]
    }),
  )
  const where = paths.length === 1 ? join(root, paths[0] ?? '') : root
  if (images.length === 0) throw new TrainError('bad_classes', `${where} holds no labelled images`)
  const { classnames, listed } = named(where, shards, images)
  const files = new Groups(root, shards)
  return {
    name,
    root: where,
    layout: 'parquet',
    classnames,
    ...lists(given ? listed : cut(listed, seed, where), files),
  }
}

/** The classes by their names: those of the metadata, else the labels themselves. */
function named(
  where: string,
  shards: readonly Shard[],
  images: { path: string; label: string | number; split: Split }[],
) {
  const names = shards.find((shard) => shard.names !== undefined)?.names
  const other = shards.find((shard) => JSON.stringify(shard.names ?? names) !== JSON.stringify(names))
  if (other !== undefined)
    throw new TrainError('bad_classes', `${where}: ${other.path} has other class names than the files before it`)
  const classnameOf = (label: string | number) => {
    const classname = typeof label === 'number' && names !== undefined ? names[label] : String(label)
    if (classname !== undefined) return classname
    throw new TrainError('bad_label', `${where}: label ${label} is outside 0..${names?.length}`)
  }
  const items = images.map(({ path, label, split }) => ({ path, split, classname: classnameOf(label) }))
  if (names !== undefined && images.every(({ label }) => typeof label === 'number')) {
    if (new Set(names).size < names.length)
      throw new TrainError('bad_classes', `${where}: a class name stands twice in its metadata`)
    const labels = new Map(names.map((classname, label) => [classname, label]))
    return { classnames: names, listed: items.map((item) => ({ ...item, label: labels.get(item.classname) ?? 0 })) }
  }
  const numbers = images.every(({ label }) => typeof label === 'number')
  return withLabels(items, numbers ? (a, b) => Number(a) - Number(b) : undefined)
}

/** One file: its columns, its labels and the rows of its groups. */
class Shard {
  readonly path: string
  readonly image: string
  /** Class names by label, where the file says them. */
  readonly names: string[] | undefined
  /** Rows with a label. */
  readonly labels: { row: number; label: string | number }[]
  readonly #file: string
  readonly #metadata: FileMetaData
  readonly #starts: number[]

  private constructor(path: string, file: string, metadata: FileMetaData, columns: Columns, labels: Shard['labels']) {
    this.path = path
    this.image = columns.image
    this.names = columns.names
    this.labels = labels
    this.#file = file
    this.#metadata = metadata
    let start = 0
    this.#starts = metadata.row_groups.map(({ num_rows }) => {
      start += Number(num_rows)
      return start - Number(num_rows)
    })
  }

  static async open(root: string, path: string): Promise<Shard> {
    const file = join(root, path)
    try {
      const metadata = await parquetMetadataAsync(await fileSlices(file))
      const columns = columnsOf(file, metadata)
      const rows = await readRows(file, metadata, columns.label)
      const labels = rows.flatMap((value, row) => labelOf(file, row, value))
      return new Shard(path, file, metadata, columns, labels)
    } catch (cause) {
      if (cause instanceof TrainError || (cause instanceof Error && 'code' in cause)) throw cause
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new TrainError('bad_data', `${file} is no parquet file that can be read: ${why}`, undefined, { cause })
    }
  }

  /** The row group that holds `row`. */
  groupOf(row: number): number {
    return this.#starts.findLastIndex((start) => start <= row)
  }

  /** The images of a row group, by row. */
  async readGroup(group: number): Promise<Map<number, Uint8Array>> {
    const start = this.#starts[group] ?? 0
    const rows = await readRows(this.#file, this.#metadata, this.image, start, this.#starts[group + 1])
    return new Map(
      rows.flatMap((value, i) => {
        const bytes = value instanceof Uint8Array ? value : (value as { bytes?: unknown } | null)?.bytes
        return bytes instanceof Uint8Array ? [[start + i, bytes]] : []
      }),
    )
  }
}

/** Images by their path `SHARD/ROW`. Groups that are asked for at once are read once; those that were used last are held. */
class Groups implements Files {
  readonly root: string
  readonly #shards: Map<string, Shard>
  readonly #held = new Map<string, Promise<Map<number, Uint8Array>>>()
  readonly #sizes = new Map<string, number>()

  constructor(root: string, shards: readonly Shard[]) {
    this.root = root
    this.#shards = new Map(shards.map((shard) => [shard.path.replace(/\.parquet$/i, ''), shard]))
  }

  files = async () => []
  folders = async () => []
  has = async (path: string) => this.#shards.has(path.slice(0, path.lastIndexOf('/')))
  peek = async (path: string) => peekOf(await this.read(path))

  /** A copy: a view would keep its whole group in memory. */
  read = async (path: string): Promise<Uint8Array> => {
    const slash = path.lastIndexOf('/')
    const shard = this.#shards.get(path.slice(0, slash))
    const row = Number(path.slice(slash + 1))
    const bytes = shard && (await this.#group(shard, shard.groupOf(row))).get(row)
    if (bytes === undefined) throw new TrainError('bad_data', 'the row holds no bytes of an image')
    return bytes.slice()
  }

  async #group(shard: Shard, group: number): Promise<Map<number, Uint8Array>> {
    const key = `${shard.path} ${group}`
    const held = this.#held.get(key)
    const images = held ?? shard.readGroup(group)
    this.#held.delete(key) // and in again as the last
    this.#held.set(key, images)
    try {
      const read = await images
      if (held === undefined) this.#makeRoom(key, read)
      return read
    } catch (cause) {
      this.#held.delete(key)
      throw cause
    }
  }

  #makeRoom(key: string, read: Map<number, Uint8Array>): void {
    this.#sizes.set(
      key,
      [...read.values()].reduce((sum, { length }) => sum + length, 0),
    )
    let sum = [...this.#sizes.values()].reduce((a, b) => a + b, 0)
    for (const old of this.#held.keys()) {
      if (sum <= HELD || old === key) continue
      sum -= this.#sizes.get(old) ?? 0
      this.#held.delete(old)
      this.#sizes.delete(old)
    }
  }
}

interface Columns {
  image: string
  label: string
  names: string[] | undefined
}

/** Which columns hold images and labels: as the metadata of `datasets` says, else by their usual names. */
function columnsOf(file: string, metadata: FileMetaData): Columns {
  const columns = parquetSchema(metadata).children.map(({ element }) => element.name)
  const features = featuresOf(metadata)
  const pick = (type: string, usual: readonly string[]) =>
    columns.find((name) => features[name]?._type === type) ?? usual.find((name) => columns.includes(name))
  const image = pick('Image', ['image', 'img'])
  const label = pick('ClassLabel', ['label', 'labels', 'fine_label', 'class'])
  if (image !== undefined && label !== undefined) return { image, label, names: features[label]?.names }
  const message = `${file}: expected a column of images and one of labels, got ${columns.join(', ')}`
  throw new TrainError(
    'bad_data',
    message,
    'They are called image and label, or marked as Image and ClassLabel by `datasets`.',
  )
}

function featuresOf({ key_value_metadata }: FileMetaData): Record<string, { _type?: string; names?: string[] }> {
  const text = key_value_metadata?.find(({ key }) => key === 'huggingface')?.value
  if (text === undefined) return {}
  try {
    const { info } = JSON.parse(text) as { info?: { features?: ReturnType<typeof featuresOf> } }
    return info?.features ?? {}
  } catch {
    return {} // then the columns' names decide
  }
}

/** A label of -1 or none is that of an image without a class, as test splits of challenges have them. */
function labelOf(file: string, row: number, value: unknown): Shard['labels'] {
  if (value === null || value === undefined) return []
  if (typeof value === 'string') return [{ row, label: value }]
  const label = Number(value)
  if (!Number.isInteger(label) || !['number', 'bigint'].includes(typeof value))
    throw new TrainError('bad_label', `${file}, row ${row}: the label is neither text nor a whole number`)
  return label < 0 ? [] : [{ row, label }]
}

/** The values of one column. */
async function readRows(
  path: string,
  metadata: FileMetaData,
  column: string,
  rowStart = 0,
  rowEnd = Number(metadata.num_rows),
): Promise<unknown[]> {
  const file = await fileSlices(path)
  const columns = [column]
  const rows = await parquetReadObjects({
    file,
    metadata,
    columns,
    rowStart,
    rowEnd,
    utf8: false,
    compressors: COMPRESSORS,
  })
  return rows.map((row) => row[column] as unknown)
}

/** A file as hyparquet reads it: only the parts that are wanted. */
async function fileSlices(path: string) {
  const slice = async (start: number, end?: number) => {
    await using file = await open(path)
    const length = (end ?? (await file.stat()).size) - start
    const bytes = new Uint8Array(length)
    const { bytesRead } = await file.read(bytes, 0, length, start)
    if (bytesRead < length) throw new TrainError('bad_data', `${path} is shorter than it says`)
    return bytes.buffer
  }
  await using file = await open(path)
  return { byteLength: (await file.stat()).size, slice }
}

/** The split that a file's folders or its name say. */
function splitOfFile(path: string): Split | undefined {
  const parts = path.replace(/\.parquet$/i, '').split('/')
  const words = [...parts.slice(0, -1), /^[a-z]*/i.exec(parts.at(-1) ?? '')?.[0] ?? '']
  return words.map(splitOf).find((split) => split !== undefined)
}
