/** What crosses packages: the doors against each other, the hosts as processes, end to end. Needs everything built. */
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: { name: 'test', include: ['**/*.test.ts'], testTimeout: 120_000, hookTimeout: 300_000 },
})
