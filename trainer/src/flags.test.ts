import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { defineCommand } from './command.ts'
import { nearest, parseFlags } from './flags.ts'
import { commandHelp } from './help.ts'

const command = defineCommand({
  name: 'toy',
  summary: 'A toy.',
  flags: z.object({
    place: z.string().optional().meta({ description: 'Where', value: 'PLACE', positional: true }),
    epochs: z.number().int().min(1).default(10).meta({ description: 'How often' }),
    n_ctx: z.number().int().optional().meta({ description: 'Context tokens' }),
    method: z.enum(['coop', 'cocoop']).default('cocoop').meta({ description: 'Which' }),
    csc: z.boolean().default(false).meta({ description: 'Per class' }),
    template: z.array(z.string()).default([]).meta({ description: 'Texts' }),
  }),
  examples: ['cocoop-train toy'],
  run: async () => undefined,
})
const parse = (args: string[], env = {}) => parseFlags(command, args, env)
const configFile = (text: string, name = 'config.json') => {
  const file = join(mkdtempSync(join(tmpdir(), 'flags-')), name)
  writeFileSync(file, text)
  return file
}

test('flags are typed, defaults stand, and what was given is known', () => {
  const { options, given } = parse([
    'here',
    '--epochs',
    '3',
    '--n-ctx=4',
    '--csc',
    '--template',
    'a {}',
    '--template',
    'b {}',
  ])
  expect(options).toEqual({
    place: 'here',
    epochs: 3,
    n_ctx: 4,
    method: 'cocoop',
    csc: true,
    template: ['a {}', 'b {}'],
  })
  expect([...given].sort()).toEqual(['csc', 'epochs', 'n_ctx', 'place', 'template'])
  expect(parse([]).options).toEqual({ epochs: 10, method: 'cocoop', csc: false, template: [] })
  expect(parse(['--no-csc']).options.csc).toBe(false)
})

test('a place for several words takes the rest; a flag that is on is turned off, and has a name of its own in the environment', () => {
  const several = defineCommand({
    ...command,
    flags: z.object({
      first: z.string().meta({ description: 'One', value: 'ONE', positional: true }),
      more: z.array(z.string()).default([]).meta({ description: 'Several', value: 'MORE...', positional: true }),
      keep: z.boolean().default(true).meta({ description: 'Keep nothing', env: 'COCOOP_KEEPING' }),
    }),
  })
  const options = (args: string[], env = {}) => parseFlags(several, args, env).options
  expect(options(['a'])).toEqual({ first: 'a', more: [], keep: true })
  expect(options(['a', 'b', '--no-keep', 'c'])).toEqual({ first: 'a', more: ['b', 'c'], keep: false })
  expect(options(['a'], { COCOOP_KEEP: '/a/folder', COCOOP_KEEPING: '0' })).toMatchObject({ keep: false })
  expect(() => options([])).toThrow('ONE is missing')
  const help = commandHelp(several)
  expect(help).toContain('cocoop-train toy ONE MORE... [flags]')
  expect(help).toMatch(/--no-keep\s+Keep nothing\n/)
  expect(help).not.toMatch(/MORE.*may be repeated/)
})

test.each([
  [['--epohcs', '5'], 'unknown flag --epohcs', 'Did you mean --epochs?'],
  [['--n_ctx', '5'], 'unknown flag --n_ctx', 'Did you mean --n-ctx?'],
  [['--wholly-else'], 'unknown flag --wholly-else', 'help toy'],
  [['--epochs', 'many'], '--epochs: expected number, received string, got "many"', 'help toy'],
  [['--epochs', '0'], '--epochs:', 'help toy'],
  [['--epochs', '1.5'], '--epochs:', 'help toy'],
  [['--epochs', ''], '--epochs:', 'help toy'],
  [['--method', 'cop'], '--method: expected one of', 'help toy'],
  [['--epochs'], '--epochs', 'help toy'],
  [['here', 'there'], 'unexpected argument "there"', 'help toy'],
])('%j is refused', (args, message, hint) => {
  expect(() => parse(args)).toThrow(
    expect.objectContaining({
      code: 'usage',
      message: expect.stringContaining(message),
      hint: expect.stringContaining(hint),
    }),
  )
})

test('flags go before COCOOP_*, these before --config, this before defaults', () => {
  const config = configFile('{"epochs": 2, "n_ctx": 2, "method": "coop"}')
  const { options } = parse(['--config', config, '--epochs', '4'], {
    COCOOP_EPOCHS: '3',
    COCOOP_N_CTX: '3',
    COCOOP_CSC: '1',
  })
  expect(options).toMatchObject({ epochs: 4, n_ctx: 3, method: 'coop', csc: true })
})

test("a run's own config.json is a config file", () => {
  const config = configFile('{"version": "0.1.0", "options": {"epochs": 2, "n_ctx": null}}')
  expect(parse(['--config', config]).options.epochs).toBe(2)
})

test('a config file may be YAML, and there may be several: a later one goes before an earlier one', () => {
  const [one, other] = [configFile('epochs: 2\nn_ctx: 2\n', 'a.yaml'), configFile('epochs: 3', 'b.yml')]
  expect(parse(['--config', one, '--config', other]).options).toMatchObject({ epochs: 3, n_ctx: 2 })
  const originals = configFile('OPTIM: {LR: 0.1}', 'c.yaml')
  expect(() => parse(['--config', originals])).toThrow(
    'a configuration of the original trainers, which toy does not take',
  )
})

test.each([
  ['{"epohcs": 2}', 'unknown option "epohcs"'],
  ['{"epochs": "2x"}', '--epochs: expected number'],
  ['{"epochs": 2', 'is not JSON'],
  ['7', 'expected a JSON object'],
])('the config file %s is refused', (text, message) => {
  expect(() => parse(['--config', configFile(text)])).toThrow(
    expect.objectContaining({ code: 'usage', message: expect.stringContaining(message) }),
  )
})

test('a missing config file is named', () => {
  expect(() => parse(['--config', '/nowhere/x.json'])).toThrow(/nowhere\/x\.json/)
})

test('the nearest word is found, and none is forced', () => {
  expect(nearest('tarin', ['train', 'eval'])).toBe('train')
  expect(nearest('xyz', ['train', 'eval'])).toBeUndefined()
})

test('the help shows every flag with its default', () => {
  const help = commandHelp(command)
  expect(help).toContain('cocoop-train toy PLACE [flags]')
  expect(help).toMatch(/--method coop\|cocoop\s+Which \(default cocoop\)/)
  expect(help).toMatch(/--template TEXT\s+Texts; may be repeated/)
  expect(help).toMatch(/--csc\s+Per class\n/)
  expect(help).toMatch(/-q, --quiet/)
})
