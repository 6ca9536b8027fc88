/** Domain generalisation (CoOp, section 4.2; CoCoOp, section 4.3): learned on one set, tested on variants of it that look different. */
import type { MethodName } from '../runs/options.ts'
import { accuracy } from './cells.ts'
import { comparedOptions, publishedShift, SHIFTED } from './papers.ts'
import type { Study } from './study.ts'
import type { Table, TablePlan } from './tables.ts'
import { publishedTransfer, transferColumns, transferRow } from './transfer.ts'

/** The variants of a set that are known by name. */
export function variantsOf(source: string): string[] {
  if (source === 'imagenet') return SHIFTED
  if (source === 'emoji-backdrops') return ['noisy', 'dark', 'sketch', 'pixelated'].map((style) => `${source}-${style}`)
  return []
}

export async function domainGeneralization(
  study: Study,
  source: string,
  targets: readonly string[],
  methods: readonly MethodName[],
): Promise<TablePlan[]> {
  const names = await study.labels([source, ...targets])
  const tests = targets.map((data) => ({ data, classes: 'all' as const }))
  const rows = []
  for (const method of methods) {
    const jobs = await study.runs({ ...comparedOptions(method, names[0] ?? ''), data: source, method }, tests)
    rows.push(
      transferRow(
        method,
        names.map((name) => accuracy(jobs, name, 'all')),
      ),
    )
  }
  const title = `Domain generalisation from ${names[0]}, accuracy in percent`
  return [{ title, corner: 'method', columns: transferColumns(names), rows }]
}

export function publishedShiftTable(names: readonly string[], methods: readonly MethodName[]): Table[] {
  const title = 'Published (CoCoOp, Table 3: ViT-B/16 of OpenAI, 16 shots, 3 seeds)'
  return publishedTransfer(title, names, methods, publishedShift)
}
