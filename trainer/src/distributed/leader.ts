/**
 * Rank 0 of a run that several processes train: it waits for the others, proves that they train the same run, and in each
 * step adds their parts in the order of the ranks, so that the sum is the same whichever comes first.
 */
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { type EpochReport, messageOf, type Part, type Progress, type Trainer } from 'cocoop/node'
import { TrainError } from '../errors.ts'
import type { TrainOptions } from '../runs/options.ts'
import { VERSION } from '../version.ts'
import { Channel, type Message, packed, stop, unpacked } from './channel.ts'
import { type Claim, sameRun } from './claim.ts'
import type { Place } from './place.ts'

/** What is not said within this time of connecting is not a rank's. */
const HELLO_MS = 10_000

export class Leader {
  readonly place: Place
  readonly #server: Server
  readonly #members = new Map<number, Channel>()
  /** Aborted with the reason why there can be no run. */
  readonly #failed = new AbortController()
  #arrived: (() => void) | undefined

  private constructor(place: Place, server: Server) {
    this.place = place
    this.#server = server
    server.on('connection', (socket) => void this.#welcome(socket))
  }

  /**
   * Listens for the other ranks.
   * @throws TrainError `rank_lost` if it cannot
   */
  static async listen(place: Place): Promise<Leader> {
    const at = async (host?: string) => {
      const server = createServer()
      server.listen(place.port, host)
      await once(server, 'listening')
      return new Leader(place, server)
    }
    try {
      return await at(place.host)
    } catch (cause) {
      // The name that the others use may not be an address of this machine (a service, a forwarded port).
      if (cause instanceof Error && 'code' in cause && cause.code === 'EADDRNOTAVAIL') return await at()
      throw new TrainError(
        'rank_lost',
        `cannot listen at ${place.host}:${place.port}: ${messageOf(cause)}`,
        'COCOOP_MASTER_PORT names another port, on all ranks.',
        { cause },
      )
    }
  }

  /** A connection says who it is. */
  async #welcome(socket: Socket): Promise<void> {
    const { world, patience } = this.place
    const stranger = new Channel(socket, `a process at ${socket.remoteAddress}`, patience)
    try {
      const { head } = await stranger.next(['hello'], AbortSignal.timeout(HELLO_MS))
      const rank = Number(head.rank)
      const refuse = (why: string) => new TrainError('usage', `rank ${rank} ${why}`)
      if (head.version !== VERSION) throw refuse(`is of version ${head.version}, rank 0 of ${VERSION}`)
      if (head.world !== world) throw refuse(`says that there are ${head.world} ranks, rank 0 that there are ${world}`)
      if (!(Number.isInteger(rank) && rank > 0 && rank < world)) throw refuse(`is none of 1 to ${world - 1}`)
      if (this.#members.get(rank)?.ended.aborted === false) throw refuse('is there twice')
      stranger.who = `rank ${rank}`
      this.#members.set(rank, stranger)
      this.#arrived?.()
    } catch (cause) {
      const known = cause instanceof TrainError && cause.code === 'usage'
      if (known) this.#failed.abort(cause)
      this.#arrived?.()
      await stranger.end(known ? stop(cause.code, cause.message) : undefined)
    }
  }

  /**
   * Waits for all ranks, and gives them the state that the run goes on from.
   * @throws TrainError `rank_lost` naming those that do not come, `usage` for one that would train another run
   */
  async begin(options: TrainOptions, claim: Claim, state: Uint8Array, signal: AbortSignal): Promise<void> {
    const { world, patience } = this.place
    const late = AbortSignal.timeout(patience)
    while (this.#members.size < world - 1) {
      this.#failed.signal.throwIfAborted()
      signal.throwIfAborted()
      if (late.aborted) {
        const missing = Array.from({ length: world }, (_, rank) => rank).filter(
          (rank) => rank > 0 && !this.#members.has(rank),
        )
        throw new TrainError(
          'rank_lost',
          `of ${world} ranks these have not come within ${patience / 1000} s: ${missing.join(', ')}`,
        )
      }
      await new Promise<void>((wake) => {
        this.#arrived = wake
        for (const end of [signal, late]) end.addEventListener('abort', () => wake(), { once: true })
      })
    }
    const members = this.#inOrder()
    for (const [, member] of members) member.send({ kind: 'welcome', options })
    const any = this.#any(signal)
    for (const [rank, member] of members) {
      const { head } = await this.#from(member, 'ready', any)
      sameRun(`rank ${rank}`, claim, head.claim)
    }
    for (const [, member] of members) member.send({ kind: 'start' }, state)
  }

  /**
   * Trains to the end of the current epoch, as the trainer's own `epoch` does.
   * @throws TrainError of the rank that stopped or is lost; CocoopError `cancelled`, `diverged`
   */
  async epoch(
    trainer: Trainer,
    onProgress: (event: Progress) => void,
    { signal }: { signal: AbortSignal },
  ): Promise<EpochReport> {
    const members = this.#inOrder()
    const any = this.#any(signal)
    for (;;) {
      const sum = await this.#or(trainer.part(0, this.place.world, { signal: any }))
      for (const [, member] of members) add(sum, await this.#from(member, 'part', any))
      for (const [, member] of members) member.send({ kind: 'sum', correct: sum.correct }, packed(sum))
      const { progress, report } = await trainer.apply(sum)
      onProgress(progress)
      if (report !== null) return report
    }
  }

  /** Lets the others go: they are done, or stop for the same reason. */
  async end(cause?: { code: string; message: string }): Promise<void> {
    this.#server.close()
    const word = cause === undefined ? { kind: 'done' } : stop(cause.code, cause.message)
    await Promise.all([...this.#members.values()].map((member) => member.end(word)))
  }

  #inOrder(): [number, Channel][] {
    return [...this.#members].sort(([a], [b]) => a - b)
  }

  #any(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, ...[...this.#members.values()].map(({ ended }) => ended)])
  }

  #from(member: Channel, kind: string, signal: AbortSignal): Promise<Message> {
    return this.#or(member.next([kind], signal))
  }

  /** The result; if it is an error because a rank has ended, why that has. */
  async #or<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (cause) {
      for (const { ended } of this.#members.values()) ended.throwIfAborted()
      throw cause
    }
  }
}

/** Adds a rank's part. */
function add(sum: Part, part: Message): void {
  const { gradient, loss } = unpacked(part, sum.gradient.length)
  for (const [i, d] of gradient.entries()) sum.gradient[i] = (sum.gradient[i] ?? 0) + d
  sum.loss += loss
  sum.correct += Number(part.head.correct)
}
