/** A process that answers a line of JSON with a line of JSON. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** Starts it; the function sends a command and gives the answer, `end` closes it. */
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
  ask.end = () => child.stdin.end()
  return ask
}
