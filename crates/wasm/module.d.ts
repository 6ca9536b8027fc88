/** What a bundler or a workers runtime makes of `import module from 'cocoop-wasm/simd.wasm'`. */
declare const module: WebAssembly.Module
export default module
