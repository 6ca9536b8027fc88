/**
 * The terminal on stderr: lines, and one live line below them.
 * Without a TTY the live line becomes a plain line every few seconds, so that a log file stays readable.
 */
import { styleText } from 'node:util'

/** The part of `process.stderr` that is used, so that tests can hand in their own. */
export interface Stream {
  isTTY?: boolean | undefined
  columns?: number | undefined
  write: (text: string) => unknown
}

const LIVE_MS = 100
const PLAIN_MS = 5000

export class Terminal {
  readonly #stream: Stream
  readonly #quiet: boolean
  readonly #now: () => number
  #live = ''
  #last = Number.NEGATIVE_INFINITY
  #tees: ((line: string) => void)[] = []

  constructor(stream: Stream, quiet: boolean, now: () => number = () => performance.now()) {
    this.#stream = stream
    this.#quiet = quiet
    this.#now = now
    if (stream.isTTY !== true) this.#last = now()
  }

  /** A line that stays. */
  log(text: string): void {
    this.#line(text, text, !this.#quiet)
  }

  /** A line that stays, also with --quiet. */
  warn(text: string): void {
    this.#line(`warning: ${text}`, `${this.paint('yellow', 'warning')}: ${text}`, true)
  }

  /** Shows `text` as the live line; called as often as there is news. */
  status(text: string): void {
    const tty = this.#stream.isTTY === true
    if (this.#quiet || this.#now() - this.#last < (tty ? LIVE_MS : PLAIN_MS)) return
    this.#last = this.#now()
    if (!tty) this.#stream.write(`${text}\n`)
    else this.#draw(text)
  }

  /** Ends the live line, leaving `text` in place. */
  settle(text: string): void {
    if (this.#quiet) return
    this.clear()
    this.#stream.write(`${text}\n`)
  }

  /** Takes the live line away. */
  clear(): void {
    if (this.#live !== '') this.#stream.write('\r\u001b[2K')
    this.#live = ''
    if (this.#stream.isTTY === true) this.#last = Number.NEGATIVE_INFINITY
  }

  /** Lines also go to `write`, a run's log, until the returned function is called. */
  tee(write: (line: string) => void): () => void {
    this.#tees.push(write)
    return () => {
      this.#tees = this.#tees.filter((tee) => tee !== write)
    }
  }

  /** `text` in a style, where the stream shows colours and NO_COLOR does not forbid them. */
  paint(style: 'bold' | 'dim' | 'red' | 'yellow' | 'green', text: string): string {
    return this.#stream.isTTY === true ? styleText(style, text, { stream: process.stderr }) : text
  }

  #line(text: string, shown: string, show: boolean): void {
    for (const tee of this.#tees) tee(text)
    if (!show) return
    const live = this.#live
    if (live !== '') this.#stream.write('\r\u001b[2K')
    this.#stream.write(`${shown}\n`)
    if (live !== '') this.#stream.write(live)
  }

  #draw(text: string): void {
    this.#live = text.slice(0, Math.max(20, (this.#stream.columns || 80) - 1))
    this.#stream.write(`\r\u001b[2K${this.#live}`)
  }
}
