/**
 * TensorBoard's event files: TFRecords (length, its masked CRC-32C, bytes, theirs) of `Event` messages with scalars.
 * A resumed run begins a new file by a session start, at which readers forget every later step that an earlier process wrote.
 */
import { closeSync, mkdirSync, openSync, readdirSync, writeSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { noSpace } from '../files.ts'

const PREFIX = 'events.out.tfevents.'

export class EventFile implements Disposable {
  readonly #path: string
  readonly #file: number
  readonly #now: () => number

  /** @param step batches that were done before: what was written at or after it is void */
  constructor(folder: string, step: number, now: () => number = Date.now) {
    mkdirSync(folder, { recursive: true })
    // Readers take the files by name, which begins with the second: a process that follows at once must not come first.
    const seconds = readdirSync(folder).map((name) => Number(name.slice(PREFIX.length).split('.')[0]) || 0)
    const second = Math.max(Math.floor(now() / 1000), ...seconds.map((earlier) => earlier + 1))
    this.#now = now
    this.#path = join(folder, `${PREFIX}${String(second).padStart(10, '0')}.${hostname()}.${process.pid}.0`)
    this.#file = openSync(this.#path, 'a')
    this.#write([...this.#event(0), ...bytes(3, Buffer.from('brain.Event:2'))])
    const START = 1
    if (seconds.length > 0) this.#write([...this.#event(step), ...bytes(7, Buffer.from(varint(1, START)))])
  }

  /** Adds a scalar for each tag; it is with the operating system when this returns. */
  scalars(values: Readonly<Record<string, number>>, step: number): void {
    for (const [tag, value] of Object.entries(values)) {
      const number = Buffer.alloc(5)
      number.writeUInt8((2 << 3) | 5) // simple_value = 2, 32 bits
      number.writeFloatLE(value, 1)
      const scalar = [...bytes(1, Buffer.from(tag)), ...number]
      const summary = bytes(1, Buffer.from(scalar))
      this.#write([...this.#event(step), ...bytes(5, Buffer.from(summary))])
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }

  /** wall_time = 1 and step = 2. */
  #event(step: number): number[] {
    const time = Buffer.alloc(9)
    time.writeUInt8((1 << 3) | 1)
    time.writeDoubleLE(this.#now() / 1000, 1)
    return [...time, ...varint(2, step)]
  }

  #write(event: number[]): void {
    const length = Buffer.alloc(8)
    length.writeUInt32LE(event.length)
    const body = Buffer.from(event)
    try {
      writeSync(this.#file, Buffer.concat([length, masked(length), body, masked(body)]))
    } catch (cause) {
      throw noSpace(this.#path, cause)
    }
  }
}

function varint(field: number, value: number): number[] {
  const out = [field << 3]
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128)
  return [...out, rest]
}

function bytes(field: number, content: Buffer): number[] {
  const [, ...length] = varint(field, content.length)
  return [(field << 3) | 2, ...length, ...content]
}

const CASTAGNOLI = Uint32Array.from({ length: 256 }, (_, i) => {
  let crc = i
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  return crc
})

/** CRC-32C as TFRecords store it: turned, and a constant added, so that a checksum of checksums stays one. */
function masked(content: Buffer): Buffer {
  const crc = crc32c(content)
  const out = Buffer.alloc(4)
  out.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0)
  return out
}

/** CRC-32 with Castagnoli's polynomial. */
export function crc32c(content: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of content) crc = (CASTAGNOLI[(crc ^ byte) & 255] ?? 0) ^ (crc >>> 8)
  return ~crc >>> 0
}
