/** A store-only .zip: pictures are compressed already, and a stored file can be read without a library. */
import { crc32 } from 'node:zlib'

const DATE = 0x0021 // 1980-01-01, the format's first day: the same content gives the same bytes on every day
const ASCII = /^[\x20-\x7e]+$/

/**
 * The bytes of an archive of `files`, in the order of their names' code points.
 * @param {Map<string, Buffer>} files by their path in the archive, with `/`
 */
export function zip(files) {
  const local = []
  const central = []
  let offset = 0
  for (const [path, bytes] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!ASCII.test(path)) throw new Error(`${path}: only ASCII names can be archived`)
    const name = Buffer.from(path)
    const common = commonFields(name, bytes)
    local.push(signature(0x04034b50), common, name, bytes)
    central.push(signature(0x02014b50), u16(0x0314), common, u16(0, 0, 0), u32(0o100644 * 0x10000, offset), name)
    offset += 4 + common.length + name.length + bytes.length
  }
  const directory = Buffer.concat(central)
  const end = [signature(0x06054b50), u16(0, 0, files.size, files.size), u32(directory.length, offset), u16(0)]
  return Buffer.concat([...local, directory, ...end])
}

/** What the local and the central header share: needed version 1.0, no flags, method 0, date, CRC, sizes, lengths. */
function commonFields(name, bytes) {
  return Buffer.concat([u16(10, 0, 0, 0, DATE), u32(crc32(bytes), bytes.length, bytes.length), u16(name.length, 0)])
}

function signature(value) {
  return u32(value)
}

function u16(...values) {
  return Buffer.from(new Uint16Array(values).buffer)
}

function u32(...values) {
  return Buffer.from(new Uint32Array(values).buffer)
}
