/** Reads TensorBoard's event files as it does: checks every sum, and forgets what a later session start makes void. For tests only. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32c } from '../logs/tensorboard.ts'

export interface Scalar {
  tag: string
  step: number
  value: number
}

/** All scalars of a folder, its files in the order of their names. */
export function readEvents(folder: string): Scalar[] {
  let scalars: Scalar[] = []
  for (const name of readdirSync(folder).sort()) {
    for (const event of records(readFileSync(join(folder, name)))) {
      const fields = parse(event)
      const step = Number(fields.get(2)?.[0] ?? 0n)
      if (fields.has(7)) scalars = scalars.filter((scalar) => scalar.step < step)
      for (const summary of (fields.get(5) ?? []) as Buffer[]) {
        for (const value of (parse(summary).get(1) ?? []) as Buffer[]) {
          const scalar = parse(value)
          const [tag, number] = [scalar.get(1)?.[0] as Buffer, scalar.get(2)?.[0] as Buffer]
          scalars.push({ tag: tag.toString(), step, value: number.readFloatLE() })
        }
      }
    }
  }
  return scalars
}

function* records(file: Buffer): Generator<Buffer> {
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at))
    check(file.subarray(at, at + 8), file.readUInt32LE(at + 8))
    const body = file.subarray(at + 12, at + 12 + length)
    check(body, file.readUInt32LE(at + 12 + length))
    yield body
    at += 16 + length
  }
}

function check(content: Buffer, stored: number): void {
  const turned = (stored - 0xa282ead8) >>> 0
  const crc = ((turned >>> 17) | (turned << 15)) >>> 0
  if (crc !== crc32c(content)) throw new Error(`checksum ${crc}, expected ${crc32c(content)}`)
}

/** The fields of a protobuf message: numbers of varints, bytes of all others. */
function parse(message: Buffer): Map<number, (bigint | Buffer)[]> {
  const fields = new Map<number, (bigint | Buffer)[]>()
  let at = 0
  const varint = (): bigint => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = message.readUInt8(at++)
      value |= BigInt(byte & 127) << shift
      if (byte < 128) return value
    }
  }
  while (at < message.length) {
    const key = Number(varint())
    const [field, wire] = [key >> 3, key & 7]
    let value: bigint | Buffer
    if (wire === 0) value = varint()
    else {
      const length = wire === 1 ? 8 : wire === 5 ? 4 : Number(varint())
      value = message.subarray(at, at + length)
      at += length
    }
    fields.set(field, [...(fields.get(field) ?? []), value])
  }
  return fields
}
