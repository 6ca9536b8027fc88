/** The worker's tests run in workerd, with real KV, the real WASM modules and what the addon made (test/support). */
import { cloudflareTest } from '@cloudflare/vitest-plugin'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  plugins: [
    cloudflareTest({
      wrangler: { configPath: '../wrangler.toml' },
      miniflare: {
        compatibilityFlags: ['nodejs_compat'], // the test runner's need, not the worker's: test/doors/worker-bundle.test.ts
        kvNamespaces: ['COCOOP', 'EMPTY', 'BROKEN'],
        bindings: { ADMIN_KEY: 'the admin key of the tests' },
      },
    }),
  ],
  test: {
    name: 'worker',
    include: ['src/**/*.test.ts'],
    globalSetup: ['../test/support/material-server.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
})
