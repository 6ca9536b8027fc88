/** Presets and the originals' files as a user types them. */
import { writeFileSync } from 'node:fs'
import { expect, test, vi } from 'vitest'
import { Home } from '../testing/cli.ts'

vi.setConfig({ testTimeout: 60_000 })
const home = new Home('presets')

test('the list, one preset, and the nearest name of one that there is not', async () => {
  const all = await home.json<{ name: string }[]>('presets')
  expect(all).toHaveLength(19)
  expect(await home.run('presets')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^vit_b16_c4_ep10_batch1_ctxv1 .*"a photo of a"$/m) }) // biome-ignore format: one line
  const one = await home.json('presets', 'rn101_ep50')
  expect(one).toMatchObject({ options: { method: 'coop', backbone: 'RN101', epochs: 50, n_ctx: 16 } })
  const unknown = await home.run('presets', 'rn101_ep5')
  expect(unknown).toMatchObject({ code: 4, stderr: expect.stringContaining('Did you mean rn101_ep50?') })
})

test('a preset, or a file, of another backbone stops before anything is written', async () => {
  const preset = ['train', '--data', 'emoji-kinds', '--preset', 'vit_b16_ctxv1', '--out', 'never']
  const refused = await home.run(...preset)
  expect(refused.code).toBe(5)
  expect(refused.stderr).toContain('the preset vit_b16_ctxv1 is for ViT-B/16, the model emoji-clip is a ViT')
  expect(refused.stderr).toMatch(/do: {4}Take --model openai\/clip-vit-base-patch16 .* --any-backbone/)
  writeFileSync(home.file('size.yaml'), 'backbone: RN50\n')
  const own = await home.run('train', '--data', 'emoji-kinds', '--config', 'size.yaml', '--out', 'never')
  expect(own).toMatchObject({ code: 5, stderr: expect.stringContaining('--backbone asks for RN50') })
})

test('what a file says and this engine does otherwise is a warning', async () => {
  writeFileSync(home.file('half.yaml'), 'TRAINER: {COCOOP: {N_CTX: 4, PREC: fp16}}\n')
  const run = await home.run('train', '--config', 'half.yaml', '--set', 'DATASET.NAME=nowhere')
  expect(run).toMatchObject({ code: 4, stderr: expect.stringContaining('warning: TRAINER.COCOOP.PREC is fp16') })
})
