/** A PNG of pixels: 8 bits a channel, each row filtered by what leaves the smallest differences. Just what thumbnails need. */
import { crc32, deflateSync } from 'node:zlib'

const SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex')
const RGB = 2

/** `pixels` is (height, width, 3). */
export function encodePng(pixels: Uint8Array, width: number, height: number): Buffer {
  if (pixels.length !== width * height * 3) throw new RangeError(`${pixels.length} bytes for ${width} x ${height} x 3`)
  const head = Buffer.alloc(13)
  head.writeUInt32BE(width, 0)
  head.writeUInt32BE(height, 4)
  head.set([8, RGB, 0, 0, 0], 8)
  const data = deflateSync(filtered(pixels, width * 3))
  return Buffer.concat([SIGNATURE, chunk('IHDR', head), chunk('IDAT', data), chunk('IEND', Buffer.alloc(0))])
}

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const [length, crc] = [Buffer.alloc(4), Buffer.alloc(4)]
  length.writeUInt32BE(data.length)
  crc.writeUInt32BE(crc32(body))
  return Buffer.concat([length, body, crc])
}

/** Each row with its filter's number before it (PNG, section 9): none, sub, up, average or Paeth, by the least sum of absolute differences. */
function filtered(pixels: Uint8Array, stride: number): Buffer {
  const rows = pixels.length / stride
  const out = Buffer.alloc(rows * (stride + 1))
  const at = (row: number, x: number) => (row < 0 || x < 0 ? 0 : (pixels[row * stride + x] ?? 0))
  for (let row = 0; row < rows; row++) {
    let least = Number.POSITIVE_INFINITY
    for (const [number, predict] of FILTERS.entries()) {
      const line = Buffer.alloc(stride + 1, number)
      let sum = 0
      for (let x = 0; x < stride; x++) {
        const guess = predict(at(row, x - 3), at(row - 1, x), x < 3 ? 0 : at(row - 1, x - 3))
        const rest = (at(row, x) - guess) & 255
        line[x + 1] = rest
        sum += rest < 128 ? rest : 256 - rest
      }
      if (sum >= least) continue
      least = sum
      out.set(line, row * (stride + 1))
    }
  }
  return out
}

/** From the pixel to the left, that above, and that above to the left. */
const FILTERS: readonly ((left: number, up: number, corner: number) => number)[] = [
  () => 0,
  (left) => left,
  (_, up) => up,
  (left, up) => (left + up) >> 1,
  (left, up, corner) => {
    const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)]
    if (a <= b && a <= c) return left
    return b <= c ? up : corner
  },
]
