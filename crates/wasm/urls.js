/** Where the two modules lie, in the form that bundlers for browsers understand; in Node.js they are file addresses. */
export const urls = {
  relaxed: new URL('./dist/relaxed.wasm', import.meta.url),
  simd: new URL('./dist/simd.wasm', import.meta.url),
}
