/** The published templates, to the letter. */
import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { CocoopError } from './errors.ts'
import { parseTemplate, TEMPLATE_SETS, templateSet } from './templates.ts'

test("CLIP's templates are those of its repository", () => {
  // SHA-256 of "name\ntemplate\n..." as read from the notebook and data/prompts.md of openai/CLIP at d05afc4.
  const names = [...TEMPLATE_SETS.keys()].filter((name) => /^(imagenet|clip:)/.test(name))
  expect(names).toHaveLength(28)
  const text = names.flatMap((name) => [name, ...(TEMPLATE_SETS.get(name) ?? [])]).join('\n')
  expect(createHash('sha256').update(text).digest('hex')).toBe(
    'ea69edde845bd776a8a3484ed191f06e5836a6e3c6385c13252423e7a310dca2',
  )
})

test('the 7 are among the 80, and no set names a template twice', () => {
  const [all, chosen] = [templateSet('imagenet-80') ?? [], templateSet('imagenet-7') ?? []]
  expect([all.length, chosen.length]).toEqual([80, 7])
  expect(chosen.every((template) => all.includes(template))).toBe(true)
  for (const [name, templates] of TEMPLATE_SETS) {
    expect(new Set(templates).size, name).toBe(templates.length)
    for (const template of templates) expect(template.split('{}'), `${name}: ${template}`).toHaveLength(2)
  }
})

test.each(['dataset:oxford_pets', 'dataset:OxfordPets', 'DATASET:oxford-pets'])('%s', (name) => {
  expect(templateSet(name)).toEqual(['a photo of a {}, a type of pet.'])
})

test('{} and {class} stand for the class name, and nothing else does', () => {
  expect(templateSet('dataset:nothing')).toBeUndefined()
  expect(parseTemplate('a {class} of "{class}"')).toBe('a {} of "{}"')
  for (const text of ['no place', 'a {name}', 'a {} {0}', 'a {} {', '{} }', '{ }']) {
    const code = () => {
      try {
        return parseTemplate(text)
      } catch (error) {
        return CocoopError.from(error)?.code
      }
    }
    expect(code(), text).toBe('bad_text')
  }
})
