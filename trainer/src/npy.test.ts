/** The .npy files, read by NumPy's own rules (numpy/lib/format.py), and what is left of those that were not finished. */
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { NpyFile } from './npy.ts'

const folder = () => mkdtempSync(join(tmpdir(), 'npy-'))

/** Version 1.0: magic, length of the header, the header, the numbers. */
function read(path: string) {
  const file = readFileSync(path)
  expect(file.toString('latin1', 0, 8)).toBe('\u0093NUMPY\u0001\u0000')
  const start = 10 + file.readUInt16LE(8)
  expect(start % 64).toBe(0)
  const header = file.toString('latin1', 10, start)
  expect(header.endsWith(' \n')).toBe(true)
  const found = /^\{'descr': '<f4', 'fortran_order': False, 'shape': \((\d+), (\d+)\), \} *\n$/.exec(header)
  const numbers = Array.from({ length: (file.length - start) / 4 }, (_, i) => file.readFloatLE(start + 4 * i))
  return { shape: [Number(found?.[1]), Number(found?.[2])], numbers }
}

test('rows come piece by piece, and the header says how many there were', async () => {
  const path = join(folder(), 'below', 'x.npy')
  {
    await using file = await NpyFile.open(path, 3)
    await file.write(Float32Array.of(1, 2, 3))
    await file.write(new Float32Array(0))
    await file.write(Float32Array.of(0, 4, 5, 6, 7, 8, -9.5).subarray(1))
    await file.commit()
  }
  expect(read(path)).toEqual({ shape: [3, 3], numbers: [1, 2, 3, 4, 5, 6, 7, 8, -9.5] })
})

test('a million rows have room in the header', async () => {
  const path = join(folder(), 'x.npy')
  await using file = await NpyFile.open(path, 1)
  await file.write(new Float32Array(1_234_567))
  await file.commit()
  expect(readFileSync(path)).toHaveLength(128 + 4 * 1_234_567)
  expect(read(path).shape).toEqual([1_234_567, 1])
})

test('what is not committed leaves nothing', async () => {
  const here = folder()
  {
    await using file = await NpyFile.open(join(here, 'x.npy'), 2)
    await file.write(Float32Array.of(1, 2))
  }
  expect(readdirSync(here)).toEqual([])
})
