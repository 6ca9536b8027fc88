import assert from 'node:assert/strict'
import { test } from 'node:test'
import { doorModule } from './glue.mjs'

const glue = `/* @ts-self-types="./cocoop.d.ts" */
let wasm
export class Model { get it() { return wasm } }
export function version() { return wasm.version }
function initSync({ module }) { wasm = module; return { memory: module.memory } }
async function __wbg_init() {}

export { initSync, __wbg_init as default };
`

test('every call of instantiate has an instance of its own', async () => {
  const door = await import(`data:text/javascript,${encodeURIComponent(doorModule(glue))}`)
  assert.deepEqual(Object.keys(door), ['instantiate'])
  const [a, b] = [door.instantiate({ version: 'a', memory: 1 }), door.instantiate({ version: 'b', memory: 2 })]
  assert.deepEqual(Object.keys(a), ['Model', 'version', 'memory'])
  assert.deepEqual([a.version(), b.version(), a.memory, b.memory], ['a', 'b', 1, 2])
  assert.notEqual(a.Model, b.Model)
})

test('output of a shape not seen before stops the build', () => {
  assert.throws(() => doorModule(`${glue}\nexport const more = 1\n`), /does not know: export const more/)
  assert.throws(() => doorModule(`import { x } from './snippets/x.js'\n${glue}`), /does not know: import/)
})
