/** The help texts, made from the same zod objects that parse. */
import { styleText } from 'node:util'
import type { Command } from './command.ts'
import { flagsOf, GLOBAL, OVERRIDES } from './flags.ts'

const EXIT_CODES = `0 ok, 1 failure, 2 usage, 3 data invalid, 4 not found, 5 incompatible bundle or model,
  6 out of disk or memory, 7 done without the images that could not be read, 130 interrupted`

/** The help of the whole program. */
export function programHelp(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length))
  return [
    'Train, evaluate and publish CLIP prompts (zero-shot, CoOp, CoCoOp).',
    '',
    `${bold('Usage')}: cocoop-train COMMAND [flags]`,
    '',
    bold('Commands'),
    ...commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    `  ${'help'.padEnd(width)}  This text, or with a command's name its flags`,
    '',
    bold('Exit codes'),
    `  ${EXIT_CODES}`,
    '',
    'Every flag can stand in a file (--config FILE, JSON or YAML, "n_ctx" for --n-ctx) or in the environment (COCOOP_N_CTX).',
    'Results go to stdout, progress to stderr. NO_COLOR turns colours off, COCOOP_DEBUG=1 prints stack traces.',
  ].join('\n')
}

/** The help of one command. */
export function commandHelp(command: Command): string {
  const flags = flagsOf(command.flags)
  const places = flags.filter((flag) => flag.positional)
  const lines = (list: typeof flags) => {
    const rows = list.map((flag) => {
      const value = flag.kind === 'boolean' ? '' : ` ${flag.value}`
      return [
        `  ${flag.short ? `-${flag.short}, ` : ''}${flag.positional ? flag.value : `--${isOn(flag) ? 'no-' : ''}${flag.flag}${value}`}`,
        note(flag),
      ]
    })
    const width = Math.min(42, Math.max(...rows.map(([name]) => name?.length ?? 0)))
    return rows.map(([name, text]) => `${name?.padEnd(width)}  ${text}`)
  }
  return [
    command.summary,
    ...(command.details === undefined ? [] : ['', command.details]),
    '',
    `${bold('Usage')}: cocoop-train ${[command.name, ...places.map(({ value }) => value), '[flags]'].join(' ')}`,
    '',
    bold('Flags'),
    ...lines([...flags, ...(command.sources === undefined ? [] : flagsOf(OVERRIDES))]),
    '',
    bold('Flags of every command'),
    ...lines(flagsOf(GLOBAL)),
    '',
    bold('Examples'),
    ...command.examples.map((example) => `  ${example}`),
  ].join('\n')
}

function note(flag: ReturnType<typeof flagsOf>[number]): string {
  const { success, data } = flag.schema.safeParse(undefined)
  const silent =
    !success || data === undefined || typeof data === 'boolean' || (Array.isArray(data) && data.length === 0)
  const repeat = flag.kind === 'strings' && !flag.positional ? '; may be repeated' : ''
  return `${flag.description}${repeat}${silent ? '' : ` (default ${Array.isArray(data) ? data.join(', ') : String(data)})`}`
}

/** A flag that is on unless it is turned off: its help names what turns it off. */
function isOn({ kind, schema }: ReturnType<typeof flagsOf>[number]): boolean {
  return kind === 'boolean' && schema.safeParse(undefined).data === true
}

function bold(text: string): string {
  return styleText('bold', text, { stream: process.stdout })
}
