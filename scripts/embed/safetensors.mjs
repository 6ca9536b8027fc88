/** Safetensors as the embedding script needs it: a whole file in memory, tensors as bytes. */

/**
 * @typedef {{ dtype: string, shape: number[], bytes: Buffer }} Tensor
 */

/**
 * Reads every tensor of a file. Made for files from our own hands: it checks little.
 * @param {Buffer} file
 * @returns {Map<string, Tensor>}
 */
export function readSafetensors(file) {
  const start = 8 + Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.toString('utf8', 8, start))
  delete header.__metadata__
  return new Map(
    Object.entries(header).map(([name, { dtype, shape, data_offsets }]) => {
      const bytes = file.subarray(start + data_offsets[0], start + data_offsets[1])
      return [name, { dtype, shape, bytes }]
    }),
  )
}

/**
 * Writes tensors in the order given; the same tensors always give the same bytes.
 * The caller puts wide types first, so that each tensor is aligned to its own width.
 * @param {Map<string, Tensor>} tensors
 */
export function writeSafetensors(tensors) {
  const header = { __metadata__: { format: 'pt' } }
  let offset = 0
  for (const [name, { dtype, shape, bytes }] of tensors) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.length] }
    offset += bytes.length
  }
  const text = JSON.stringify(header)
  const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(padded.length))
  return Buffer.concat([length, padded, ...[...tensors.values()].map((tensor) => tensor.bytes)])
}
