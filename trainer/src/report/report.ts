/** Reports: of one run, written into its folder; of several, or of all below a folder. A run that cannot have one is none the worse for it. */
import { readdir } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import type { Context } from '../command.ts'
import { byCodePoint } from '../datasets/dataset.ts'
import { kindOf } from '../datasets/disk.ts'
import { TrainError } from '../errors.ts'
import { writeDurably } from '../files.ts'
import { comparePage, type GroupFigures } from './compare-page.ts'
import { readProtocol } from './protocol.ts'
import { holdsRun, type Run, readRun } from './read-run.ts'
import { type RunFigures, runFigures, runPage } from './run-page.ts'

/** A report that was written; what --json prints. */
export interface Written {
  out: string
  bytes: number
  /** What it could not show. */
  notes: string[]
  runs: RunFigures[]
  /** Of several runs: their settings' figures over seeds. */
  groups: GroupFigures[]
}

/**
 * Writes the report of what `words` name: a run's folder, several of them, or a folder below which there are some.
 * @param out by default report.html in the one folder that is named, or here
 * @throws TrainError `not_found` where there are no runs; as {@link readRun}
 */
export async function writeReport(
  words: readonly string[],
  out: string | undefined,
  { terminal, signal }: Pick<Context, 'terminal' | 'signal'>,
): Promise<Written> {
  const [word = ''] = words
  const to = out ?? (words.length === 1 ? join(word, 'report.html') : 'report.html')
  if (words.length === 1 && holdsRun(word)) return await one(word, to)
  const folders = [...new Set((await Promise.all(words.map(runsBelow))).flat())]
  const runs: Run[] = []
  for (const folder of folders) {
    signal.throwIfAborted()
    runs.push(await readRun(folder))
    terminal.status(`reading runs ${runs.length}/${folders.length}`)
  }
  const protocol = words.length === 1 ? await readProtocol(word) : undefined
  const kind = protocol === undefined ? 'Sweep' : `${protocol.name.charAt(0).toUpperCase()}${protocol.name.slice(1)},`
  const title = words.length === 1 ? `${kind} ${basename(resolve(word))}` : `${runs.length} runs`
  const { html, groups } = await comparePage(title, runs, to, protocol?.tables)
  await writeDurably(to, html)
  return { out: to, bytes: Buffer.byteLength(html), notes: [], runs: runs.map(runFigures), groups }
}

/** Writes a run's report at its end. What goes wrong is a warning. */
export async function reportRun(folder: string, { terminal }: Pick<Context, 'terminal'>): Promise<void> {
  try {
    await one(folder, join(folder, 'report.html'))
  } catch (cause) {
    terminal.warn(`there is no report of ${folder}: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
}

async function one(folder: string, out: string): Promise<Written> {
  const { html, figures, notes } = await runPage(await readRun(folder))
  await writeDurably(out, html)
  return { out, bytes: Buffer.byteLength(html), notes, runs: [figures], groups: [] }
}

/** The folders of the runs at or below `folder`, in code-point order. A run holds no other run. */
async function runsBelow(folder: string): Promise<string[]> {
  if (!(await kindOf(folder, 'isDirectory'))) throw new TrainError('not_found', `there is no folder ${folder}`, HINT)
  const found = await walk(folder)
  if (found.length === 0) throw new TrainError('not_found', `${folder} holds no run`, HINT)
  return found
}

const HINT = 'A run is a folder that `cocoop-train train` made.'

async function walk(folder: string): Promise<string[]> {
  if (holdsRun(folder)) return [folder]
  const entries = await readdir(folder, { withFileTypes: true })
  const folders = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.')).map(({ name }) => name)
  return (await Promise.all(folders.sort(byCodePoint).map((name) => walk(join(folder, name))))).flat()
}
