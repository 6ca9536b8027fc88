/**
 * From a command's zod object to its options: flags over COCOOP_* over --config FILE over a preset over defaults.
 * Nothing unknown passes: `--epohcs 5` stops the run instead of training a night with the default.
 */
import { parseArgs } from 'node:util'
import { z } from 'zod'
import type { Command } from './command.ts'
import { type ConfigFile, isOriginal, readConfigFile } from './config-file.ts'
import { TrainError } from './errors.ts'

/** The flags that every command takes. */
export const GLOBAL = z.object({
  config: z.array(z.string()).default([]).meta({
    description:
      'Options from a JSON or YAML file; flags and COCOOP_* go before it, a later file before an earlier one',
    value: 'FILE',
  }),
  json: z.boolean().default(false).meta({ description: 'Print the result as one JSON document on stdout' }),
  quiet: z.boolean().default(false).meta({ description: 'No progress, only warnings and errors', short: 'q' }),
  help: z.boolean().default(false).meta({ description: 'Print this help', short: 'h' }),
})

/** The flag of every command that takes the originals' configuration. */
export const OVERRIDES = z.object({
  set: z.array(z.string()).default([]).meta({
    description: "An override of the original's command line, before all else: TRAINER.COOP.N_CTX=16",
    value: 'KEY=VALUE',
  }),
})

/** What was typed, checked against the command's schema. */
export interface Parsed {
  options: Record<string, unknown>
  global: z.output<typeof GLOBAL>
  /** Keys of `options` that came neither from a default nor from a preset. */
  given: Set<string>
  /** What is worth a warning. */
  notes: string[]
}

type Kind = 'boolean' | 'number' | 'strings' | 'string'
/** What a key of a command's zod object is on the command line. */
export interface Flag {
  key: string
  flag: string
  kind: Kind
  schema: z.ZodType
  description: string
  value: string
  short: string | undefined
  /** The environment's name for it. */
  env: string
  positional: boolean
}

/** The flags of a zod object, in its order. */
export function flagsOf(object: z.ZodObject): Flag[] {
  return Object.entries(object.shape).map(([key, field]) => {
    const schema = field as z.ZodType
    const meta = metaOf(schema)
    const kind = kindOf(schema)
    const text = (name: string) => (typeof meta[name] === 'string' ? meta[name] : undefined)
    return {
      key,
      flag: key.replaceAll('_', '-'),
      kind,
      schema,
      description: text('description') ?? '',
      value: text('value') ?? valuesOf(schema) ?? (kind === 'number' ? 'N' : 'TEXT'),
      short: text('short'),
      env: text('env') ?? `COCOOP_${key.toUpperCase()}`,
      positional: meta.positional === true,
    }
  })
}

/**
 * Parses what stands after the command's name.
 * @throws TrainError `usage` for an unknown flag (with the nearest known one), a missing or misfitting value.
 */
export function parseFlags(command: Command, args: string[], env: NodeJS.ProcessEnv): Parsed {
  const flags = flagsOf(command.flags)
  const globals = flagsOf(GLOBAL)
  const overrides = command.sources === undefined ? [] : flagsOf(OVERRIDES)
  const all = [...flags.filter((flag) => !flag.positional), ...overrides, ...globals]
  const typed = readArgs(command.name, all, args)
  const global = check(command.name, GLOBAL, pick(typed.values, globals), globals)
  if (global.help) return { options: {}, global, given: new Set(), notes: [] }
  const files = global.config.map(readConfigFile)
  const asked: Record<string, unknown> = Object.assign(
    {},
    ...files.filter((file) => !isOriginal(file)).map((file) => ownOptions(file, flags)),
    readEnv(flags, env),
    pick(typed.values, flags),
    positionals(command.name, flags, typed.positionals),
  )
  const { set } = check(command.name, OVERRIDES, pick(typed.values, overrides), overrides)
  const { below, above, notes } = otherOptions(command, asked, files.filter(isOriginal), set)
  const raw = { ...below, ...asked, ...above }
  const given = new Set(Object.keys({ ...asked, ...above }).filter((key) => raw[key] !== undefined))
  return { options: check(command.name, command.flags, raw, flags), global, given, notes }
}

/** The word of `known` that `typed` most likely meant, if any is near. */
export function nearest(typed: string, known: readonly string[]): string | undefined {
  const [best] = known
    .map((word) => ({ word, distance: distance(typed, word) }))
    .filter(({ word, distance }) => distance <= Math.max(2, word.length / 3))
    .sort((a, b) => a.distance - b.distance)
  return best?.word
}

/** Optimal string alignment: insertions, deletions, replacements and swaps of neighbours. */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)]
  const at = (i: number, j: number) => rows[i]?.[j] ?? Number.POSITIVE_INFINITY
  for (let i = 1; i <= a.length; i++) {
    rows[i] = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(i - 2, j - 2) + 1 : Number.POSITIVE_INFINITY
      rows[i]?.push(Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, replaced, swapped))
    }
  }
  return at(a.length, b.length)
}

function readArgs(command: string, flags: Flag[], args: string[]) {
  const options = Object.fromEntries(
    flags.map(({ flag, kind, short }) => [
      flag,
      {
        type: kind === 'boolean' ? 'boolean' : 'string',
        multiple: kind === 'strings',
        ...(short ? { short } : {}),
      } as const,
    ]),
  )
  try {
    return parseArgs({ args, options, strict: true, allowPositionals: true, allowNegative: true })
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause)
    const unknown = /^Unknown option '(-{1,2}[^']*)'/.exec(message)?.[1]
    if (unknown === undefined) throw usage(command, message.split('. ')[0] ?? message)
    const near = nearest(
      unknown.replace(/^-+/, ''),
      flags.map(({ flag }) => flag),
    )
    throw usage(command, `unknown flag ${unknown}`, near && `Did you mean --${near}?`)
  }
}

/** The options in a file of this project. */
function ownOptions({ file, content }: ConfigFile, flags: Flag[]): Record<string, unknown> {
  // A run's own config.json holds the options beside the facts of the run, and repeats it as it stands.
  const config = 'options' in content ? (content.options as Record<string, unknown>) : content
  const known = flags.map(({ key }) => key)
  for (const key of Object.keys(config)) {
    if (known.includes(key)) continue
    const near = nearest(key, known)
    throw new TrainError('usage', `${file}: unknown option "${key}"`, near && `Did you mean "${near}"?`)
  }
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== null))
}

/** What a preset and the originals' configuration say. */
function otherOptions(command: Command, asked: Record<string, unknown>, files: ConfigFile[], sets: string[]) {
  if (command.sources !== undefined) return command.sources(asked, files, sets)
  const [first] = files
  if (first === undefined) return { below: {}, above: {}, notes: [] }
  throw usage(
    command.name,
    `${first.file} is a configuration of the original trainers, which ${command.name} does not take`,
  )
}

function readEnv(flags: Flag[], env: NodeJS.ProcessEnv): Record<string, unknown> {
  const values: Record<string, unknown> = {}
  for (const { key, kind, env: name } of flags) {
    const text = env[name]
    if (text === undefined || text === '') continue
    if (kind === 'boolean') values[key] = { 1: true, true: true, 0: false, false: false }[text.toLowerCase()] ?? text
    else values[key] = kind === 'strings' ? [text] : text
  }
  return values
}

/** Words that belong to no flag, in the order of the places for them; a place for several, which is the last, takes the rest. */
function positionals(command: string, flags: Flag[], words: string[]): Record<string, string | string[]> {
  const places = flags.filter((flag) => flag.positional)
  const rest = places.at(-1)?.kind === 'strings' ? places.pop() : undefined
  const single = words.slice(0, places.length).map((word, i) => [places[i]?.key ?? '', word] as const)
  const more = words.slice(places.length)
  if (rest === undefined && more[0] !== undefined) throw usage(command, `unexpected argument "${more[0]}"`)
  return { ...Object.fromEntries(single), ...(rest !== undefined && more.length > 0 ? { [rest.key]: more } : {}) }
}

function pick(values: Record<string, unknown>, flags: Flag[]): Record<string, unknown> {
  const set = flags.filter(({ flag }) => values[flag] !== undefined)
  return Object.fromEntries(set.map(({ key, flag }) => [key, values[flag]]))
}

/** Text becomes a number where the schema wants one; zod says the rest. */
function check<S extends z.ZodObject>(
  command: string,
  schema: S,
  raw: Record<string, unknown>,
  flags: Flag[],
): z.output<S> {
  const values = { ...raw }
  for (const { key, kind } of flags) {
    const value = values[key]
    if (kind === 'number' && typeof value === 'string' && value.trim() !== '' && !Number.isNaN(Number(value))) {
      values[key] = Number(value)
    }
  }
  const result = schema.strict().safeParse(values)
  if (result.success) return result.data as z.output<S>
  const issue = result.error.issues[0]
  const key = String(issue?.path[0] ?? '')
  const flag = flags.find((flag) => flag.key === key)
  const name = flag?.positional ? flag.value : `--${flag?.flag ?? key}`
  if (values[key] === undefined) throw usage(command, `${name} is missing`)
  const message = issue?.message.replace(/^Invalid (input|option): /, '') ?? 'does not fit'
  throw usage(command, `${name}: ${message}, got ${JSON.stringify(raw[key])}`)
}

function usage(command: string, message: string, hint?: string): TrainError {
  const help = `\`cocoop-train help ${command}\` lists its flags.`
  return new TrainError('usage', message, hint ? `${hint} ${help}` : help)
}

/** `.meta()` of the schema, or of what stands inside it. */
function metaOf(schema: z.ZodType): Record<string, unknown> {
  const inner = (schema.def as { innerType?: z.ZodType }).innerType
  return schema.meta() ?? (inner === undefined ? {} : metaOf(inner))
}

/** What stands inside `.default()`, `.optional()` and their like. */
function core(schema: z.ZodType): z.ZodType {
  const def = schema.def as { innerType?: z.ZodType }
  return def.innerType === undefined ? schema : core(def.innerType)
}

function kindOf(schema: z.ZodType): Kind {
  const { type } = core(schema).def
  if (type === 'boolean' || type === 'number') return type
  return type === 'array' ? 'strings' : 'string'
}

function valuesOf(schema: z.ZodType): string | undefined {
  const inner = core(schema)
  return inner instanceof z.ZodEnum ? inner.options.join('|') : undefined
}
