/** Cross-dataset transfer (CoCoOp, section 4.2): prompts learned on all classes of one set, tested on others. */
import type { MethodName } from '../runs/options.ts'
import { accuracy, type Cell } from './cells.ts'
import { comparedOptions, publishedCross } from './papers.ts'
import type { Study } from './study.ts'
import type { Table, TablePlan } from './tables.ts'
import { publishedTransfer, transferColumns, transferRow } from './transfer.ts'

export async function crossDataset(
  study: Study,
  source: string,
  targets: readonly string[],
  methods: readonly MethodName[],
): Promise<TablePlan[]> {
  const sets = [source, ...targets]
  const names = await study.labels(sets)
  const rows = []
  for (const method of methods) rows.push(transferRow(method, await cellsOf(study, sets, names, method)))
  const title = `Cross-dataset transfer from ${names[0]}, accuracy in percent`
  return [{ title, corner: 'method', columns: transferColumns(names), rows }]
}

export function publishedCrossTable(names: readonly string[], methods: readonly MethodName[]): Table[] {
  const title = 'Published (CoCoOp, Table 2: ViT-B/16 of OpenAI, 16 shots, 3 seeds)'
  return publishedTransfer(title, names, methods, publishedCross)
}

async function cellsOf(
  study: Study,
  sets: readonly string[],
  names: readonly string[],
  method: MethodName,
): Promise<Cell[]> {
  if (method === 'zero-shot') {
    // Nothing is learned that could be transferred: each set has its own template.
    const jobs = await Promise.all(sets.map((data) => study.runs({ data, method })))
    return names.map((name, i) => accuracy(jobs[i] ?? [], name, 'all'))
  }
  const [source = '', ...targets] = sets
  const tests = targets.map((data) => ({ data, classes: 'all' as const }))
  const jobs = await study.runs({ ...comparedOptions(method, names[0] ?? ''), data: source, method }, tests)
  return names.map((name) => accuracy(jobs, name, 'all'))
}
