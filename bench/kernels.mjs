/**
 * How many billions of operations per second the matrix products reach on one core, natively and in WASM, and what share that is
 * of what the machine gives: multiply-adds of floats in registers, measured beside each figure; of bytes 8/3 of them, as two vectors
 * of bytes take three multiplications where no instruction does it at once. `npm run bench -- kernels [--json]`
 */
import { runExample } from './lib/example.mjs'

const rows = runExample('kernels').map(({ shape, format, isa, gops, peak }) => ({
  name: `${shape}, ${format}, ${isa}`,
  peer: peak === null ? null : "the machine's peak",
  ours: gops,
  theirs: peak,
  unit: 'Gop/s',
  ratio: peak === null ? null : gops / peak,
  goal: null,
  spread: null,
}))
if (process.argv.includes('--json')) console.log(JSON.stringify(rows))
else
  for (const { name, ours, theirs, ratio } of rows)
    console.log(
      `${name.padEnd(52)} ${ours.toFixed(1).padStart(7)} Gop/s${theirs === null ? '' : ` of ${theirs.toFixed(1).padStart(6)}, ${Math.round(100 * ratio)} %`}`,
    )
