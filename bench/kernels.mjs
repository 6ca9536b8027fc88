/**
 * How many billions of operations per second the matrix products reach on one core, natively and in WASM, and what share that is
 * of what the machine gives: multiply-adds of floats in registers, measured beside each figure; of bytes four times as many, or
 * 8/3 where no instruction sums their products. WASM's vectors have four lanes: its peak is that part of the native one. `npm run bench -- kernels [--json]`
 */
import { runExample } from './lib/example.mjs'

const LANES = { 'avx2+fma': 8, avx512f: 16 }
const measured = runExample('kernels')
/** The peak of four lanes, from the native row of the same shape and format. */
const ofFourLanes = ({ shape, format }) => {
  const native = measured.find((row) => row.shape === shape && row.format === format && row.isa in LANES)
  return native ? (native.peak * 4) / LANES[native.isa] : null
}
const rows = measured.map(({ shape, format, isa, gops, ...row }) => {
  const peak = isa.startsWith('simd128') ? ofFourLanes({ shape, format }) : row.peak
  return {
    name: `${shape}, ${format}, ${isa}`,
    peer: peak === null ? null : "the machine's peak",
    ours: gops,
    theirs: peak,
    unit: 'Gop/s',
    ratio: peak === null ? null : gops / peak,
    goal: null,
    spread: null,
  }
})
if (process.argv.includes('--json')) console.log(JSON.stringify(rows))
else
  for (const { name, ours, theirs, ratio } of rows)
    console.log(
      `${name.padEnd(52)} ${ours.toFixed(1).padStart(7)} Gop/s${theirs === null ? '' : ` of ${theirs.toFixed(1).padStart(6)}, ${Math.round(100 * ratio)} %`}`,
    )
