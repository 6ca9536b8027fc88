/** probe.safetensors: what a linear probe learned. Tensors `weight` (n_cls, embed_dim) and `bias` (n_cls), f32; the rest is metadata. */
import { readFile } from 'node:fs/promises'
import type { LinearProbe } from 'cocoop/node'
import { z } from 'zod'
import { TrainError } from '../errors.ts'

const About = z.object({
  classnames: z.array(z.string()).min(1),
  /** Inverse strength of the regularisation that was chosen, as scikit-learn's `C`. */
  c: z.number(),
  model: z.object({ id: z.string(), sha256: z.string() }),
  training: z.record(z.string(), z.unknown()),
  metrics: z.record(z.string(), z.unknown()),
})

/** A linear classifier of image features as they leave the tower. */
export type Probe = z.infer<typeof About> & LinearProbe

/** The file's bytes: the same for the same probe. */
export function formatProbe({ weight, bias, ...about }: Probe): Buffer {
  const embed_dim = weight.length / bias.length
  const header = {
    __metadata__: { cocoop_probe: JSON.stringify(about) },
    weight: { dtype: 'F32', shape: [bias.length, embed_dim], data_offsets: [0, weight.byteLength] },
    bias: {
      dtype: 'F32',
      shape: [bias.length],
      data_offsets: [weight.byteLength, weight.byteLength + bias.byteLength],
    },
  }
  const text = JSON.stringify(header)
  const json = Buffer.from(text + ' '.repeat((8 - (Buffer.byteLength(text) % 8)) % 8))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  const bytes = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength)
  return Buffer.concat([length, json, bytes(weight), bytes(bias)])
}

/**
 * Reads what {@link formatProbe} wrote.
 * @throws TrainError `bad_data` naming the file
 */
export async function readProbe(path: string): Promise<Probe> {
  const file = await readFile(path)
  try {
    const start = 8 + Number(file.readBigUInt64LE(0))
    const header = JSON.parse(file.toString('utf8', 8, start)) as Record<string, { data_offsets: [number, number] }>
    const { cocoop_probe } = z.object({ cocoop_probe: z.string() }).parse(header.__metadata__)
    const tensor = (name: string) => {
      const [from, to] = header[name]?.data_offsets ?? [0, 0]
      // A copy: what lies in a file need not begin where a number may.
      return new Float32Array(Uint8Array.from(file.subarray(start + from, start + to)).buffer)
    }
    const probe = { ...About.parse(JSON.parse(cocoop_probe)), weight: tensor('weight'), bias: tensor('bias') }
    if (probe.bias.length === probe.classnames.length && probe.weight.length % probe.bias.length === 0) return probe
    throw new Error(`${probe.classnames.length} class names, ${probe.bias.length} biases`)
  } catch (cause) {
    throw new TrainError(
      'bad_data',
      `${path} is not a linear probe: ${cause instanceof Error ? cause.message : cause}`,
      'Train it again.',
    )
  }
}
