/** What a command is: a zod object that is its flags, its types and its help, and a function. */
import type { z } from 'zod'
import type { ConfigFile } from './config-file.ts'
import type { Terminal } from './terminal.ts'

/** Options that are neither flags, nor environment, nor in a file of this project: presets, and the original trainers' configurations. */
export type Sources = (
  /** What was said otherwise. */
  asked: Record<string, unknown>,
  /** The originals' files, in their order. */
  files: readonly ConfigFile[],
  /** `KEY=VALUE` of the originals' command line. */
  sets: readonly string[],
) => {
  below: Record<string, unknown>
  above: Record<string, unknown>
  /** What is worth a warning. */
  notes: string[]
}

/** What a command gets besides its options. */
export interface Context {
  /** Progress and diagnostics, on stderr. */
  terminal: Terminal
  /** Writes a result for people to stdout; says nothing with --json. */
  print: (text: string) => void
  /** Writes to stdout as it stands, for results of many rows; settles when there is room for more. */
  write: (text: string) => Promise<void>
  /** Aborted by the first Ctrl-C. */
  signal: AbortSignal
  /** Sets the exit code of a command that gave its result and yet did not find all well. */
  exit: (code: number) => void
  /** The options that were set by flag, environment or file, as opposed to defaults. */
  given: ReadonlySet<string>
}

/** A command as `cli.ts` tables it. What `run` returns is the document that --json prints. */
export interface Command<Shape extends z.ZodRawShape = z.ZodRawShape> {
  name: string
  summary: string
  /** More about the command, for its help. */
  details?: string
  /**
   * Each key is a flag (`n_ctx` is --n-ctx), described by `.meta({ description, value, short, env, positional })` on its outermost schema.
   */
  flags: z.ZodObject<Shape>
  /** For a command that takes presets and the originals' files. */
  sources?: Sources
  examples: readonly string[]
  run: (options: z.output<z.ZodObject<Shape>>, context: Context) => Promise<unknown>
}

/** Keeps the types of a command's flags in its `run`, and forgets them in the table. */
export function defineCommand<Shape extends z.ZodRawShape>(command: Command<Shape>): Command {
  return command as unknown as Command
}
