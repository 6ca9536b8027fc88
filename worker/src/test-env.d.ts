/** The bindings of the tests in workerd (vitest.config.ts). */
declare module 'cloudflare:workers' {
  type Kv = import('cocoop/edge').KvNamespace & { put(key: string, value: string): Promise<void> }
  export const env: { COCOOP: Kv; EMPTY: Kv; BROKEN: Kv; ADMIN_KEY: string }
}
