/** The application on Cloudflare Workers: the store is the KV namespace `COCOOP`, the engine is WASM. */
import { createEngine, type KvNamespace, KvStore } from 'cocoop/edge'
import { createApp } from './app.ts'
import { Runtime } from './runtime.ts'

export interface Bindings {
  COCOOP: KvNamespace
  /** A secret (`wrangler secret put ADMIN_KEY`). Without it nothing can be published over HTTP. */
  ADMIN_KEY?: string
}

/** Of the 128 MB of an isolate: the rest is the program's and the request's own. */
const MODEL_BYTES = 110_000_000

let runtime: Runtime | undefined

export const app = createApp((bindings) => {
  const { COCOOP, ADMIN_KEY } = bindings as Bindings
  runtime ??= new Runtime({ store: new KvStore(COCOOP), createEngine, maxMemoryBytes: MODEL_BYTES })
  return { runtime, adminKey: ADMIN_KEY }
})

export default {
  async fetch(
    request: Request,
    bindings: Bindings,
    context: { waitUntil(promise: Promise<unknown>): void },
  ): Promise<Response> {
    const response = Promise.resolve(app.fetch(request, bindings))
    // Others may wait for what this request loads: when its client leaves, the load still ends.
    context.waitUntil(response)
    return await response
  },
}
