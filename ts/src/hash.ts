/** SHA-256: of bytes by WebCrypto, which Node.js, workers and browsers all have; of a stream by what Node.js and workers add. */

/** The SHA-256 of `bytes` in lower-case hexadecimal. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  return hex(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>))
}

/** The SHA-256 of bytes that come one chunk after another. */
export interface Hasher {
  update(chunk: Uint8Array): Promise<void>
  hex(): Promise<string>
}

interface NodeProcess {
  getBuiltinModule?(id: 'node:crypto'): typeof import('node:crypto') | undefined
}
/** Workers have a WritableStream that hashes. */
type DigestStream = WritableStream<Uint8Array> & { readonly digest: Promise<ArrayBuffer> }

/** A hasher, where the host has one; browsers have none and hash what lies in memory. */
export function streamHasher(): Hasher | undefined {
  const { process } = globalThis as { process?: NodeProcess }
  const node = process?.getBuiltinModule?.('node:crypto')
  if (node) {
    const hash = node.createHash('sha256')
    return { update: async (chunk) => void hash.update(chunk), hex: async () => hash.digest('hex') }
  }
  const { DigestStream } = crypto as { DigestStream?: new (algorithm: string) => DigestStream }
  if (!DigestStream) return undefined
  const stream = new DigestStream('SHA-256')
  const writer = stream.getWriter()
  return {
    update: (chunk) => writer.write(chunk),
    hex: async () => {
      await writer.close()
      return hex(await stream.digest)
    },
  }
}

function hex(digest: ArrayBuffer): string {
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
