/**
 * How the engine is compiled for WASM. Its profile is in Cargo.toml: size for all but the crates in which the time goes.
 * Those lose what speed they have of vectorised loops when everything is linked, as that is done at the size's level; so
 * the vectorisers run in each crate, as passes of their own.
 */
export const profile = 'wasm'

/** The modules, and the features that each asks of its runtime. */
export const features = { simd: '+simd128', relaxed: '+simd128,+relaxed-simd' }

const combine = 'instcombine<no-verify-fixpoint>'
const passes = ['loop-vectorize', combine, 'simplifycfg', 'slp-vectorizer', 'vector-combine', combine]

/** RUSTFLAGS of module `name`. */
export const flags = (name) => `-C target-feature=${features[name]} -C passes=function(${passes.join()})`
