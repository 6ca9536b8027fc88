#!/usr/bin/env node
/** `cocoop-train`: a table of commands. This file alone writes results and ends the process. */
import { once } from 'node:events'
import type { Command } from './command.ts'
import { ablationCommand } from './commands/ablation.ts'
import { backbonesCommand } from './commands/backbones.ts'
import { baseToNewCommand } from './commands/base-to-new.ts'
import { bundles } from './commands/bundles.ts'
import { checkpoint } from './commands/checkpoint.ts'
import { crossDatasetCommand } from './commands/cross-dataset.ts'
import { dataset } from './commands/dataset.ts'
import { demo } from './commands/demo.ts'
import { doctor } from './commands/doctor.ts'
import { domainGeneralizationCommand } from './commands/domain-generalization.ts'
import { embed } from './commands/embed.ts'
import { evaluate } from './commands/eval.ts'
import { exportOnnx } from './commands/export-onnx.ts'
import { fewShotCommand } from './commands/few-shot.ts'
import { interpret } from './commands/interpret.ts'
import { job } from './commands/job.ts'
import { linearProbeCommand } from './commands/linear-probe.ts'
import { models } from './commands/models.ts'
import { pack } from './commands/pack.ts'
import { predict } from './commands/predict.ts'
import { presets } from './commands/presets.ts'
import { publish } from './commands/publish.ts'
import { report } from './commands/report.ts'
import { score } from './commands/score.ts'
import { search } from './commands/search.ts'
import { sweep } from './commands/sweep.ts'
import { templates } from './commands/templates.ts'
import { train } from './commands/train.ts'
import { worker } from './commands/worker.ts'
import { zeroShot } from './commands/zero-shot.ts'
import { EXIT, problemOf, TrainError } from './errors.ts'
import { nearest, parseFlags } from './flags.ts'
import { commandHelp, programHelp } from './help.ts'
import { Terminal } from './terminal.ts'
import { VERSION } from './version.ts'

const COMMANDS: readonly Command[] = [
  train,
  sweep,
  job,
  worker,
  evaluate,
  zeroShot,
  predict,
  report,
  baseToNewCommand,
  crossDatasetCommand,
  domainGeneralizationCommand,
  fewShotCommand,
  linearProbeCommand,
  ablationCommand,
  backbonesCommand,
  templates,
  presets,
  embed,
  score,
  search,
  pack,
  publish,
  bundles,
  exportOnnx,
  interpret,
  checkpoint,
  dataset,
  models,
  demo,
  doctor,
]

async function main([word, ...args]: string[]): Promise<number> {
  if (word === undefined || word === 'help' || word === '--help' || word === '-h') {
    const topic = word === 'help' ? args[0] : undefined
    say(topic === undefined ? programHelp(COMMANDS) : commandHelp(find(topic)))
    return word === undefined ? EXIT.usage : EXIT.ok
  }
  if (word === 'version' || word === '--version') {
    say(VERSION)
    return EXIT.ok
  }
  const command = find(word)
  const { options, global, given, notes } = parseFlags(command, args, process.env)
  if (global.help) {
    say(commandHelp(command))
    return EXIT.ok
  }
  const terminal = new Terminal(process.stderr, global.quiet)
  for (const note of notes) terminal.warn(note)
  const print = (text: string) => {
    terminal.clear()
    if (!global.json) say(text)
  }
  const write = async (text: string) => {
    if (global.json)
      throw new TrainError('usage', 'the rows go to stdout, where --json prints', 'Name a file by --out.')
    terminal.clear()
    if (!process.stdout.write(text)) await once(process.stdout, 'drain')
  }
  let code: number = EXIT.ok
  const exit = (wanted: number) => {
    code = wanted
  }
  const result = await command.run(options, { terminal, print, write, exit, given, signal: interrupts(terminal) })
  terminal.clear()
  if (global.json) say(JSON.stringify(result, null, 2))
  return code
}

/** The first Ctrl-C asks the command to stop, the second ends the process. */
function interrupts(terminal: Terminal): AbortSignal {
  const controller = new AbortController()
  const onSignal = () => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted)
    controller.abort()
    terminal.clear()
    terminal.warn('stopping; press Ctrl-C again to stop at once')
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  process.on('SIGHUP', onSignal) // the terminal was closed: the worker must not outlive it
  return controller.signal
}

function find(word: string): Command {
  const command = COMMANDS.find(({ name }) => name === word)
  if (command !== undefined) return command
  const near = nearest(
    word,
    COMMANDS.map(({ name }) => name),
  )
  throw new TrainError('usage', `unknown command "${word}"`, near && `Did you mean \`cocoop-train ${near}\`?`)
}

function tell(error: unknown): number {
  const { code, message, hint, exit } = problemOf(error)
  if (process.argv.includes('--json')) say(JSON.stringify({ error: { code, message, hint } }, null, 2))
  const lines = [`error: ${message}`, `code:  ${code}`, ...(hint === '' ? [] : [`do:    ${hint}`])]
  process.stderr.write(`${lines.join('\n')}\n`)
  if (process.env.COCOOP_DEBUG === '1') console.error(error)
  return exit
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

// A reader that went away (`| head`) is no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) =>
  process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.failure),
)
try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  process.exitCode = tell(error)
}
