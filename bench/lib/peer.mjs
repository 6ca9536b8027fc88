/** A process that answers a line of JSON with a line of JSON. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

/** Starts it; the function sends a command and gives the answer, `end` waits until it and its memory are gone. */
export async function answering(command, args) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.on('error', () => {}) // that it ended is told by the missing answer
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ask = async (value) => {
    child.stdin.write(`${JSON.stringify(value)}\n`)
    const { done, value: line } = await lines.next()
    if (done) throw new Error(`${command} ${args.join(' ')} ended: npm run bench:peers`)
    return JSON.parse(line)
  }
  ask.end = async () => {
    child.stdin.end()
    if (child.exitCode === null) await once(child, 'close')
  }
  return ask
}
