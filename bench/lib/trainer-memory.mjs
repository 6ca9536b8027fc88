/** Two epochs of one case of the training bench in a process of its own: `trainer-memory.mjs MODEL CASE` prints {bytes}, its largest resident size. */
import { readFileSync } from 'node:fs'
import { openModel, training } from './trainer.mjs'

const [folder, of] = process.argv.slice(2)
const { step } = await training(await openModel(folder), JSON.parse(of))
await step()
await step()
// resourceUsage().maxRSS begins with what the process that started this one had.
const peak = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))
console.log(JSON.stringify({ bytes: Number(peak[1]) * 1024 }))
process.exit(0)
