/**
 * Where the time of a forward pass goes, natively and in WASM, on one thread: crates/core/examples/profile.rs says of what.
 * A row is a workload, or one kind of operation in it; there is no peer. `npm run bench -- profile [--json]`
 */
import { runExample } from './lib/example.mjs'

const profiles = runExample('profile')
if (process.argv.includes('--json')) {
  const row = (name, ours, spread) => {
    return { name, peer: null, ours, theirs: null, unit: 'ms', ratio: null, goal: null, spread }
  }
  const rows = profiles.flatMap(({ name, isa, ms, spread, parts }) => [
    row(`${name}, ${isa}`, ms, spread),
    ...Object.entries(parts).map(([part, ms]) => row(`${name}, ${isa}: ${part}`, ms, null)),
  ])
  console.log(JSON.stringify(rows))
} else {
  for (const { name, isa, ms, spread, parts } of profiles) {
    console.log(`${name}, ${isa}: ${ms.toFixed(1)} ms, spread ${(100 * spread).toFixed(0)} %`)
    for (const [part, own] of Object.entries(parts)) {
      console.log(
        `  ${part.padEnd(12)} ${own.toFixed(2).padStart(9)} ms ${((100 * own) / ms).toFixed(1).padStart(6)} %`,
      )
    }
  }
}
