/**
 * How the engine is compiled for WASM. Its profile is in Cargo.toml: size for all but the crates in which the time goes.
 * Those lose what speed they have of vectorised loops when everything is linked, as that is done at the size's level; so
 * the vectorisers run in each crate, as passes of their own. A compiler that does not know the passes (they are LLVM's, and
 * may be named anew) links nothing across crates instead: the module is a ninth larger, and as fast.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const profile = 'wasm'

/** The modules, and the features that each asks of its runtime. */
export const features = { simd: '+simd128', relaxed: '+simd128,+relaxed-simd' }

const combine = 'instcombine<no-verify-fixpoint>'
const passes = `passes=function(${['loop-vectorize', combine, 'simplifycfg', 'slp-vectorizer', 'vector-combine', combine]})`

/** What cargo is run with for module `name`: RUSTFLAGS, and the profile's link step. */
export function environment(name) {
  const flags = `-C target-feature=${features[name]}`
  if (compilerTakes(passes)) return { RUSTFLAGS: `${flags} -C ${passes}` }
  return { RUSTFLAGS: flags, CARGO_PROFILE_WASM_LTO: 'off' }
}

let known
/** Whether the compiler compiles an empty crate with this option. */
function compilerTakes(option) {
  if (known !== undefined) return known
  const folder = mkdtempSync(join(tmpdir(), 'cocoop-rustc-'))
  const args = ['-', '--crate-name', 'probe', '--crate-type', 'lib', '-O', '-C', option, '--out-dir', folder]
  const { status } = spawnSync('rustc', args, { input: 'pub fn f(x: &mut [f32]) { for x in x { *x += 1.0 } }' })
  rmSync(folder, { recursive: true, force: true })
  known = status === 0
  return known
}
