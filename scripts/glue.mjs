/**
 * From wasm-bindgen's JavaScript for `--target web` to the one export of cocoop-wasm: `instantiate(module)`.
 * That JavaScript keeps its instance in a variable of the file, so a program could have one and no second. Here all of it
 * becomes the body of a function: every call has an instance of its own, and a trap in one leaves the others whole.
 */

/** The text of cocoop.js. */
export function doorModule(glue) {
  const names = [...glue.matchAll(/^export (?:class|function) (\w+)/gm)].map((match) => match[1])
  const body = glue
    .replaceAll(/^export (?=class |function )/gm, '')
    .replace(/^export \{ initSync, __wbg_init as default \};$/m, '')
    .replace(/^\/\* @ts-self-types=.*$/m, '')
    .trim()
  const left = body.match(/^(?:export|import)\b.*$/m)
  if (left) throw new Error(`wasm-bindgen's output has a line that this build does not know: ${left[0]}`)
  return `/* Made by scripts/build.mjs from wasm-bindgen's output. */
export function instantiate(module) {
${body}

const { memory } = initSync({ module })
return { ${names.join(', ')}, memory }
}
`
}

/** The text of cocoop.d.ts, beside which wasm-bindgen's own declarations are door.d.ts. */
export const doorTypes = `/* Made by scripts/build.mjs. */
import type * as door from './door.d.ts'
export type { Model, Classifier, Scores } from './door.d.ts'

/** Everything that crates/wasm exports, on one instance with a memory of its own, which only grows. */
export type WasmInstance = Omit<typeof door, 'default' | 'initSync'> & { readonly memory: WebAssembly.Memory }

/** A new instance of one of this package's modules. */
export function instantiate(module: WebAssembly.Module): WasmInstance
`
