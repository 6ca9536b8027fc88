/** Two epochs of one case of the training bench in a process of its own: `trainer-memory.mjs MODEL CASE` prints {bytes}, its largest resident size. */
import { openModel, training } from './trainer.mjs'

const [folder, of] = process.argv.slice(2)
const { step } = await training(await openModel(folder), JSON.parse(of))
await step()
await step()
console.log(JSON.stringify({ bytes: process.resourceUsage().maxRSS * 1024 }))
process.exit(0)
