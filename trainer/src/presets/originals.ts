/**
 * Reads the originals' configuration: files (data set < method) and `KEY=VALUE` overrides, to options below and above the flags.
 * `TRAINER.COOP.N_CTX` names a key here, as on the original's command line.
 */
import { templateSet } from 'cocoop/node'
import { type ConfigFile, parseYaml } from '../config-file.ts'
import { TrainError } from '../errors.ts'
import { nearest } from '../flags.ts'
import { context, KEYS, type Key, METHOD_KEYS, type Options, SECTION } from './dassl.ts'

export interface Read {
  /** What the files say: goes below flags and environment. */
  below: Options
  /** What the overrides say: goes above them. */
  above: Options
  /** What is worth a warning. */
  notes: string[]
}

interface Value {
  value: unknown
  /** The file, or `--set`. */
  where: string
}
type Flat = Map<string, Value>
type Section = keyof typeof METHOD_KEYS

/** Sections that count as a whole: what such a one leaves out has Dassl's default. */
const WHOLE = ['INPUT', 'DATALOADER', 'OPTIM', 'TRAIN']

const WARMUP = 'OPTIM.WARMUP_EPOCH'

/**
 * @param sets `KEY=VALUE` each
 * @param method what the flags say; `fallback` counts where nothing says anything, as a preset's
 * @throws TrainError `usage` for an unknown key (with the nearest), a value that does not fit, and what cannot be honoured
 */
export function readOriginals(
  files: readonly ConfigFile[],
  sets: readonly string[],
  { method, fallback }: { method?: string | undefined; fallback?: string | undefined } = {},
): Read {
  const fromFiles: Flat = new Map(files.flatMap(({ file, content }) => flatten(content, file)))
  const fromSets: Flat = new Map(sets.map(parseSet))
  const all: Flat = new Map([...fromFiles, ...fromSets])
  for (const [key, { where }] of all) checkKnown(key, where)
  const named = take('TRAINER.NAME', fromSets).method ?? method ?? take('TRAINER.NAME', fromFiles).method ?? fallback
  const section = sectionOf(named, all, fromSets)
  const notes: string[] = []
  const below = interpret(fromFiles, whole(fromFiles, section), section, notes)
  const above = interpret(all, [...fromSets.keys()], section, notes)
  if (files.length > 0) checkMethod(named, section, fromFiles)
  if (section !== undefined && named === undefined) below.method = section === 'COOP' ? 'coop' : 'cocoop'
  const templates = named === 'zero-shot' ? templatesOf(all) : undefined
  if (templates !== undefined) (fromSets.has('TRAINER.NAME') ? above : below).templates = templates
  if (fromFiles.get('SEED')?.value === -1 && above.seed === undefined)
    notes.push('SEED is -1: the original draws other shots each time, here --seed decides')
  return { below, above, notes: [...new Set(notes)] }
}

/** The options of `keys`, whose values are in `flat` or Dassl's defaults. */
function interpret(flat: Flat, keys: readonly string[], section: Section | undefined, notes: string[]): Options {
  const options: Options = {}
  const cold = keys.includes(WARMUP) && Number(flat.get(WARMUP)?.value ?? -1) <= 0
  const own = `TRAINER.${section}.`
  for (const key of keys) {
    if (key.startsWith('TRAINER.') && key !== 'TRAINER.NAME' && !key.startsWith(own)) {
      notes.push(`${flat.get(key)?.where}: ${key} is another trainer's and has no effect`)
      continue
    }
    if (key === 'OPTIM.WARMUP_TYPE' && cold) continue
    Object.assign(options, take(key, flat))
  }
  if (section === undefined || !keys.some((key) => key.startsWith(own))) return options
  const value = (name: string) => flat.get(`${own}${name}`)?.value ?? METHOD_KEYS[section][name]?.default
  const prec = flat.get(`${own}PREC`)?.value
  if (prec !== undefined && prec !== 'fp32') notes.push(`${own}PREC is ${prec}: this engine computes in f32 throughout`)
  if (keys.some((key) => key === `${own}N_CTX` || key === `${own}CTX_INIT`)) {
    const words = context(value('N_CTX'), value('CTX_INIT'), flat.has(`${own}N_CTX`), own.slice(0, -1))
    Object.assign(options, words.options)
    // Beside an override of the number alone there may be the words of a preset, which the caller knows.
    if (!keys.includes(`${own}CTX_INIT`) && !flat.has(`${own}CTX_INIT`)) delete options.ctx_init
    if (words.note !== undefined) notes.push(words.note)
  }
  return options
}

/** The keys that files speak of: their own, and the rest of the sections that they hold; where they say how to learn, the context too. */
function whole(flat: Flat, method: Section | undefined): string[] {
  const keys = [...flat.keys()]
  const sections = new Set(keys.map((key) => key.split('.')[0] ?? key))
  const rest = Object.keys(KEYS).filter((key) => {
    const [section = ''] = key.split('.')
    return WHOLE.includes(section) && sections.has(section)
  })
  const own = `TRAINER.${method}.`
  const learns = method !== undefined && (sections.has('OPTIM') || keys.some((key) => key.startsWith(own)))
  return [...new Set([...keys, ...rest, ...(learns ? [`${own}N_CTX`, `${own}CTX_INIT`] : [])])]
}

function take(key: string, flat: Flat): Options {
  const known = keyOf(key)
  const given = flat.get(key)
  if (known === undefined || (given === undefined && key === 'TRAINER.NAME')) return {}
  const where = given === undefined ? `${key}, which the file leaves to Dassl's default` : `${given.where}: ${key}`
  return known.take(given === undefined ? known.default : given.value, where)
}

function keyOf(key: string): Key | undefined {
  const [, section, name] = /^TRAINER\.(COOP|COCOOP)\.([A-Z_]+)$/.exec(key) ?? []
  const [keys, own] = section === undefined ? [KEYS, key] : [METHOD_KEYS[section as Section], name ?? '']
  return Object.hasOwn(keys, own) ? keys[own] : undefined
}

/** The section of `TRAINER` that counts: the method's, or the only one that is there. */
function sectionOf(method: string | undefined, all: Flat, sets: Flat): Section | undefined {
  const there = (flat: Flat) =>
    (Object.keys(METHOD_KEYS) as Section[]).filter((name) =>
      [...flat.keys()].some((key) => key.startsWith(`TRAINER.${name}.`)),
    )
  if (method === undefined) {
    const [one, other] = there(all)
    if (other === undefined) return one
    throw new TrainError(
      'usage',
      'TRAINER.COOP and TRAINER.COCOOP are both set',
      'Say which by --method coop or cocoop.',
    )
  }
  const own = method === 'coop' || method === 'cocoop' ? SECTION[method] : undefined
  const other = there(sets).find((name) => name !== own)
  if (other === undefined) return own
  throw new TrainError(
    'usage',
    `--set TRAINER.${other}...: the method is ${method}`,
    `--method ${other.toLowerCase()} is the other.`,
  )
}

/** A method's file says how to learn, but not which method: the original's command line does. */
function checkMethod(method: string | undefined, section: Section | undefined, flat: Flat): void {
  const has = (start: string) => [...flat.keys()].some((key) => key.startsWith(start))
  const learns = method === undefined || method === 'coop' || method === 'cocoop'
  if (!learns || !(has('OPTIM.') || has('DATALOADER.') || has('INPUT.'))) return
  if (!has('OPTIM.')) {
    throw new TrainError(
      'usage',
      `${fileOf(flat)} has no OPTIM section: the original extracts features with such a file, it trains nothing`,
      'Name another file, or --method linear-probe or zero-shot.',
    )
  }
  if (method === undefined && section === undefined) {
    throw new TrainError(
      'usage',
      `${fileOf(flat)} does not say which trainer it is for`,
      'Say so by --method coop or cocoop, as the original does by --trainer.',
    )
  }
}

function fileOf(flat: Flat): string {
  return [...flat].find(([key]) => /^(OPTIM|DATALOADER|INPUT)\./.test(key))?.[1].where ?? 'the file'
}

function checkKnown(key: string, where: string): void {
  if (keyOf(key) !== undefined) return
  const foreign = /^TRAINER\.([A-Z0-9]+)\b/.exec(key)?.[1]
  const names = [
    ...Object.keys(KEYS),
    ...Object.entries(METHOD_KEYS).flatMap(([name, keys]) => Object.keys(keys).map((key) => `TRAINER.${name}.${key}`)),
  ]
  if (names.some((name) => name.startsWith(`${key}.`)))
    throw new TrainError('usage', `${where}: ${key}: expected a section of keys`)
  if (foreign !== undefined && foreign !== 'NAME' && !(foreign in METHOD_KEYS)) {
    const near = nearest(foreign, Object.keys(METHOD_KEYS))
    const message = `${where}: ${key}: of the trainers only COOP and COCOOP are here`
    throw new TrainError('usage', message, near && `Did you mean TRAINER.${near}?`)
  }
  const near = nearest(key, names)
  throw new TrainError('usage', `${where}: unknown key ${key}`, near && `Did you mean ${near}?`)
}

/** The originals' two zero-shot trainers: a set's own template, or that and the seven chosen for ImageNet. */
function templatesOf(flat: Flat): string[] | undefined {
  const trainer = flat.get('TRAINER.NAME')?.value
  if (trainer !== 'ZeroshotCLIP' && trainer !== 'ZeroshotCLIP2') return undefined
  const { data } = take('DATASET.NAME', flat)
  const own = flat.has('DATASET.NAME') && templateSet(`dataset:${data}`) !== undefined ? `dataset:${data}` : 'simple'
  return trainer === 'ZeroshotCLIP' ? [own] : ['imagenet-7', ...(data === 'imagenet' ? [] : [own])]
}

/** `OPTIM: {LR: 0.002}` as `OPTIM.LR`. A section that holds nothing says nothing. */
function flatten(section: Record<string, unknown>, where: string, prefix = ''): [string, Value][] {
  return Object.entries(section).flatMap(([name, value]): [string, Value][] => {
    const key = `${prefix}${name}`
    const inner = keyOf(key) === undefined
    if (inner && value === null) return []
    if (inner && typeof value === 'object' && !Array.isArray(value))
      return flatten(value as Record<string, unknown>, where, `${key}.`)
    return [[key, { value: literal(value), where }]]
  })
}

function parseSet(set: string): [string, Value] {
  const [, key, value] = /^\s*([^=\s]+)\s*=(.*)$/s.exec(set) ?? []
  if (key === undefined || value === undefined)
    throw new TrainError('usage', `--set: expected KEY=VALUE, got "${set}"`, 'For example --set TRAINER.COOP.N_CTX=16.')
  return [key, { value: literal(plain(value.trim())), where: '--set' }]
}

/** What YAML makes of a word; a word that it cannot read stays one. */
function plain(text: string): unknown {
  try {
    return text === '' ? '' : parseYaml(text, '--set')
  } catch {
    return text
  }
}

/** Python's tuples are text in YAML, and the originals read them as what they look like. */
function literal(value: unknown): unknown {
  if (typeof value !== 'string') return value
  const [, inside] = /^\((.*?),?\s*\)$/s.exec(value) ?? []
  return inside === undefined ? value : plain(`[${inside}]`)
}
