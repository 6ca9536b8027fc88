/** Two hundred kills at random moments: whatever they hit, a run ends in the bytes of one that was never stopped. `npm run test:full` */
import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Home, makeColours } from './testing/cli.ts'

const KILLS = 200
const EPOCHS = 400

test.runIf(process.env.COCOOP_FULL === '1')(
  `${KILLS} kills at random moments give the bit-identical bundle`,
  async () => {
    const home = new Home('kills')
    await makeColours(home.file('colours'))
    // Batches of 2: an epoch is 8 steps, so that kills hit steps, checkpoints and the files of the end.
    const options = ['--data', 'colours', '--shots', '4', '--batch-size', '2', '--epochs', String(EPOCHS)]
    const whole = await home.run('train', ...options, '--out', 'whole')
    expect(whole.stderr).not.toContain('error:')
    const file = (run: string, name: string) => readFileSync(home.file(run, name))

    let [kills, finished] = [0, 0]
    for (let round = 0; kills < KILLS || finished === 0; round++) {
      const out = `run-${round}`
      while (!existsSync(home.file(out, 'result.json'))) {
        const begun = existsSync(home.file(out, 'config.json'))
        const args = begun ? ['--resume', '--out', out] : [...options, '--out', out]
        const { child, end } = home.start(['train', ...args])
        if (kills < KILLS) {
          // A third anywhere in a process's life, the others soon after it went on learning.
          const before = home.steps(out)
          if (Math.random() < 1 / 3) await sleep(1000 * Math.random())
          else {
            while (home.steps(out) <= before && child.exitCode === null) await sleep(1)
            await sleep(200 * Math.random())
          }
          child.kill('SIGKILL')
        }
        const { code, stderr } = await end
        if (code === null) kills += 1
        else expect([code, stderr]).toEqual([0, expect.not.stringContaining('error:')])
      }
      for (const name of ['bundle.safetensors', 'metrics.jsonl', 'tests/colours-all.jsonl'])
        expect(file(out, name).equals(file('whole', name)), `${out}/${name} after ${kills} kills`).toBe(true)
      finished += 1
    }
    expect(kills).toBeGreaterThanOrEqual(KILLS)
  },
  1_200_000,
)
