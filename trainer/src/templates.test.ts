/** Templates by what is typed. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readTemplates } from './templates.ts'

const file = (text: string) => {
  const path = join(mkdtempSync(join(tmpdir(), 'templates-')), 'mine.txt')
  writeFileSync(path, text)
  return path
}

test('sets, files and texts add up in their order, each template once', async () => {
  const mine = file('# mine\n\na drawing of a {class}\r\n  a photo of a {}, a type of pet.\n')
  const words = ['imagenet-7', 'dataset:oxford_pets', mine, 'the {}', 'simple', 'itap of a {}.']
  const found = await readTemplates(words)
  expect(found).toHaveLength(7 + 1 + 1 + 1 + 1)
  expect(found.slice(6)).toEqual([
    'a photo of the small {}.',
    'a photo of a {}, a type of pet.',
    'a drawing of a {}',
    'the {}',
    'a photo of a {}.',
  ])
})

test.each([
  ['imagenet-8', 'not_found', 'Did you mean imagenet-80?'],
  ['a photo', 'not_found', 'needs {} where the class name goes'],
  ['a {name}', 'usage', 'cocoop-train templates'],
  [file('a {}\nno place\n'), 'usage', 'cocoop-train templates'],
  [file('# nothing\n'), 'usage', 'cocoop-train templates'],
])('%s is refused', async (word, code, hint) => {
  await expect(readTemplates([word])).rejects.toMatchObject({ code, hint: expect.stringContaining(hint) })
})
