/**
 * Rows of f32 as NumPy's own file: `numpy.load` reads it. Format version 1.0, `<f4`, C order (numpy/lib/format.py).
 * The number of rows is known at the end only, so the header has a fixed length and is written again then.
 */
import { FileBeside } from './files.ts'

const HEADER_BYTES = 128

/** The first bytes of a file of (rows, width) numbers. */
export function npyHeader(rows: number, width: number): Uint8Array {
  const dict = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows}, ${width}), }`
  const head = Buffer.from('\u0093NUMPY\u0001\u0000\0\0', 'latin1')
  head.writeUInt16LE(HEADER_BYTES - head.length, 8)
  return Buffer.concat([head, Buffer.from(`${dict.padEnd(HEADER_BYTES - head.length - 1)}\n`, 'latin1')])
}

/** A .npy file that takes its name when it is whole. */
export class NpyFile implements AsyncDisposable {
  readonly #file: FileBeside
  readonly #width: number
  #rows = 0

  private constructor(file: FileBeside, width: number) {
    this.#file = file
    this.#width = width
  }

  static async open(path: string, width: number): Promise<NpyFile> {
    const file = await FileBeside.open(path)
    await file.write(npyHeader(0, width))
    return new NpyFile(file, width)
  }

  /** Adds rows (n, width). */
  async write(rows: Float32Array): Promise<void> {
    await this.#file.write(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength))
    this.#rows += rows.length / this.#width
  }

  async commit(): Promise<void> {
    await this.#file.rewriteStart(npyHeader(this.#rows, this.#width))
    await this.#file.commit()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]()
  }
}
