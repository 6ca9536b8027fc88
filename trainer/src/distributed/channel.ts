/**
 * One TCP connection between two ranks, as messages: a length, a JSON head, and bytes. Both sides say that they are alive
 * while they compute, so that one that is silent is known to be lost.
 */
import type { Socket } from 'node:net'
import { messageOf } from 'cocoop/node'
import { z } from 'zod'
import { TrainError } from '../errors.ts'

/** The longest head and body: a head is a few options and class names, a body the gradient or a checkpoint. */
const MAX_HEAD = 16 << 20
const MAX_BODY = 1 << 30
const BEAT_MS = 2000

/** What is said. Which of the fields are there follows from `kind`. */
const Head = z.looseObject({ kind: z.string() })
export interface Message {
  head: z.infer<typeof Head>
  body: Uint8Array<ArrayBuffer>
}

/** A message as bytes: two lengths (u32, little endian), the head, the body. */
export function encode(head: Message['head'], body: Uint8Array = new Uint8Array()): Buffer {
  const json = Buffer.from(JSON.stringify(head))
  const lengths = Buffer.alloc(8)
  lengths.writeUInt32LE(json.length, 0)
  lengths.writeUInt32LE(body.length, 4)
  return Buffer.concat([lengths, json, body])
}

/** Cuts a stream of bytes into messages. */
export class Decoder {
  #chunks: Buffer[] = []
  #bytes = 0

  /**
   * The messages that `chunk` completes.
   * @throws TrainError `bad_request` for what is none
   */
  push(chunk: Buffer): Message[] {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    const messages: Message[] = []
    for (;;) {
      const lengths = this.#peek(8)
      if (lengths === undefined) return messages
      const [head, body] = [lengths.readUInt32LE(0), lengths.readUInt32LE(4)]
      if (head > MAX_HEAD || body > MAX_BODY) throw new TrainError('bad_request', 'this is not the talk of a rank')
      const whole = this.#peek(8 + head + body)
      if (whole === undefined) return messages
      this.#chunks = whole.length < this.#bytes ? [Buffer.concat(this.#chunks).subarray(whole.length)] : []
      this.#bytes -= whole.length
      messages.push({ head: parse(whole.subarray(8, 8 + head)), body: Uint8Array.from(whole.subarray(8 + head)) })
    }
  }

  /** The first `bytes` bytes, where they have come. */
  #peek(bytes: number): Buffer | undefined {
    if (this.#bytes < bytes) return undefined
    if ((this.#chunks[0]?.length ?? 0) < bytes) this.#chunks = [Buffer.concat(this.#chunks)]
    return this.#chunks[0]?.subarray(0, bytes)
  }
}

function parse(json: Buffer): Message['head'] {
  try {
    return Head.parse(JSON.parse(json.toString()))
  } catch (cause) {
    throw new TrainError('bad_request', 'this is not the talk of a rank', undefined, { cause })
  }
}

/** A connection. It ends once: by {@link end}, by what the other side says, by silence, or by the network. */
export class Channel {
  /** The other side, for messages to people. */
  who: string
  readonly #socket: Socket
  readonly #inbox: Message[] = []
  readonly #ended = new AbortController()
  #wake: (() => void) | undefined
  readonly #onAbort = () => this.#wake?.()
  #heard = performance.now()

  /** @param patience milliseconds of silence after which the other side is lost */
  constructor(socket: Socket, who: string, patience: number) {
    this.#socket = socket
    this.who = who
    socket.setNoDelay(true)
    const decoder = new Decoder()
    socket.on('data', (chunk: Buffer) => {
      this.#heard = performance.now()
      try {
        for (const message of decoder.push(chunk)) {
          const { kind } = message.head
          if (kind === 'stop') this.#end(stopped(this.who, message.head))
          else if (kind !== 'alive') this.#inbox.push(message)
        }
        this.#wake?.()
      } catch (cause) {
        this.#end(cause)
      }
    })
    const beat = setInterval(() => {
      if (performance.now() - this.#heard > patience)
        this.#end(lost(`${this.who} has said nothing for ${Math.round(patience / 1000)} s`))
      else this.send({ kind: 'alive' })
    }, BEAT_MS)
    this.#ended.signal.addEventListener('abort', () => clearInterval(beat))
    socket.on('error', (cause) => this.#end(lost(`${this.who} is lost: ${messageOf(cause)}`, cause)))
    socket.on('close', () => this.#end(lost(`${this.who} has gone away`)))
  }

  /** Aborted when the connection has ended, with the reason. */
  get ended(): AbortSignal {
    return this.#ended.signal
  }

  send(head: Message['head'], body?: Uint8Array): void {
    if (!this.#socket.destroyed && this.#socket.writable) this.#socket.write(encode(head, body))
  }

  /**
   * The next message, which is of one of these kinds.
   * @throws the reason of the connection's end, which may be what the other side stopped for; that of `signal`
   */
  async next(kinds: readonly string[], signal: AbortSignal): Promise<Message> {
    for (;;) {
      const message = this.#inbox.shift()
      if (message !== undefined) {
        if (kinds.includes(message.head.kind)) return message
        throw new TrainError('bad_request', `expected "${kinds.join('" or "')}", got "${message.head.kind}"`)
      }
      this.ended.throwIfAborted()
      signal.throwIfAborted()
      await new Promise<void>((wake) => {
        this.#wake = wake
        signal.addEventListener('abort', this.#onAbort, { once: true })
      })
      signal.removeEventListener('abort', this.#onAbort)
    }
  }

  /** Says a last word and hangs up; what was sent before arrives. */
  async end(head?: Message['head']): Promise<void> {
    if (head !== undefined) this.send(head)
    const gone = new Promise<void>((done) => {
      this.#socket.once('close', () => done())
      setTimeout(done, 2 * BEAT_MS).unref()
    })
    if (this.#socket.closed) return
    this.#socket.end()
    await gone
    this.#socket.destroy()
    this.#end(lost('the connection was ended'))
  }

  #end(reason: unknown): void {
    if (!this.#ended.signal.aborted) this.#ended.abort(reason)
    if (!this.#socket.destroyed && !this.#socket.writableEnded) this.#socket.destroy()
    this.#wake?.()
  }
}

/** A gradient and its loss as bytes (f32, little endian): JSON has no NaN, and a run that diverges has. */
export function packed({ gradient, loss }: { gradient: Float32Array; loss: number }): Uint8Array {
  const values = new Float32Array(gradient.length + 1)
  values.set(gradient)
  values[gradient.length] = loss
  return new Uint8Array(values.buffer)
}

/**
 * The gradient of so many values, and its loss, that a message carries.
 * @throws TrainError `bad_request` if it carries something else
 */
export function unpacked({ body }: Message, length: number): { gradient: Float32Array; loss: number } {
  if (body.length !== 4 * (length + 1))
    throw new TrainError('bad_request', `expected a gradient of ${length} values, got ${body.length} bytes`)
  const values = new Float32Array(body.buffer)
  return { gradient: values.subarray(0, length), loss: values[length] ?? Number.NaN }
}

/** An error as a last word. */
export function stop(code: string, message: string): Message['head'] {
  return { kind: 'stop', code, message }
}

function stopped(who: string, { code, message }: Message['head']): TrainError {
  return new TrainError(String(code), `${who}: ${message}`)
}

function lost(message: string, cause?: unknown): TrainError {
  return new TrainError('rank_lost', message, undefined, { cause })
}
