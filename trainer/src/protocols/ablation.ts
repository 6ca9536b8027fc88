/** Ablations of the two papers (CoOp, section 4.3; CoCoOp, section 4.4), a table for each question. */
import { nativeEngine } from 'cocoop/node'
import { DEFAULT_MODEL, openModel } from '../models.ts'
import type { MethodName } from '../runs/options.ts'
import type { Options } from '../sweep/job.ts'
import { accuracy, type Cell, fixed, harmonic, mean } from './cells.ts'
import { epochsFor } from './papers.ts'
import type { Study } from './study.ts'
import type { Column, TablePlan } from './tables.ts'

export const PARTS = ['context-length', 'initialisation', 'class-specific', 'position', 'parameters'] as const
export type Part = (typeof PARTS)[number]

const WORDS = 'a photo of a'
/** CoOp's context that has about as many parameters as CoCoOp with its Meta-Net, on ViT-B/16. */
const MATCHED = 60

interface Variant {
  label: string
  options: Options & { method: MethodName }
}

interface Question {
  title: string
  variants: Variant[]
  /** What the runs are trained on and tested by: base and new with H, or all classes. */
  on: 'base' | 'all'
}

const cocoop = (label: string, options: Options = {}): Variant => ({ label, options: { method: 'cocoop', ...options } })
const coop = (label: string, options: Options = {}): Variant => ({ label, options: { method: 'coop', ...options } })

const QUESTIONS: Record<Part, Question[]> = {
  'context-length': [
    {
      title: 'Context length: CoCoOp, random initialisation',
      on: 'base',
      variants: [4, 8, 16].map((n) => cocoop(`${n} tokens`, { n_ctx: n, ctx_init: '' })),
    },
    {
      title: 'Context length: CoOp, random initialisation',
      on: 'all',
      variants: [4, 8, 16].map((n) => coop(`${n} tokens`, { n_ctx: n, ctx_init: '' })),
    },
  ],
  initialisation: [
    {
      title: 'Initialisation: CoCoOp, 4 tokens',
      on: 'base',
      variants: [cocoop(`"${WORDS}"`, { n_ctx: 4, ctx_init: WORDS }), cocoop('random', { n_ctx: 4, ctx_init: '' })],
    },
    {
      title: 'Initialisation: CoOp, 4 tokens',
      on: 'all',
      variants: [coop(`"${WORDS}"`, { n_ctx: 4, ctx_init: WORDS }), coop('random', { n_ctx: 4, ctx_init: '' })],
    },
  ],
  'class-specific': [
    {
      title: 'Class-specific context: CoOp, 16 tokens',
      on: 'all',
      variants: [coop('one for all classes'), coop('one for each class', { csc: true })],
    },
  ],
  position: [
    {
      title: "The class name's position: CoOp, 16 tokens",
      on: 'all',
      variants: (['end', 'middle', 'front'] as const).map((at) => coop(at, { class_token_position: at })),
    },
  ],
  parameters: [
    {
      title: 'Parameters: is it their number, or that the prompts follow the image?',
      on: 'base',
      variants: [
        coop('CoOp, 4 tokens', { ctx_init: WORDS }),
        coop(`CoOp, ${MATCHED} tokens`, { n_ctx: MATCHED, ctx_init: '' }),
        cocoop('CoCoOp, 4 tokens'),
      ],
    },
  ],
}

export async function ablation(study: Study, data: readonly string[], parts: readonly Part[]): Promise<TablePlan[]> {
  const names = await study.labels(data)
  const plans: TablePlan[] = []
  for (const { title, variants, on } of parts.flatMap((part) => QUESTIONS[part])) {
    const rows = []
    for (const { label, options } of variants) {
      const sets: Cell[][] = []
      for (const [i, one] of data.entries()) sets.push(await cellsOf(study, one, names[i] ?? one, options, on))
      const averages = sets.length > 1 ? averageOf(sets, on) : []
      const run = sets[0]?.[0]?.jobs[0]?.options ?? options
      rows.push({
        label,
        cells: [fixed(await countParameters(study, data[0] ?? '', run), 0), ...sets.flat(), ...averages],
      })
    }
    const figures = on === 'base' ? ['base', 'new', 'H'] : ['accuracy']
    const groups = [...names, ...(names.length > 1 ? ['average'] : [])]
    const columns: Column[] = [
      { label: 'parameters' },
      ...groups.flatMap((group) => figures.map((label) => ({ label, group }))),
    ]
    plans.push({ title, corner: 'context', columns, rows })
  }
  return plans
}

async function cellsOf(
  study: Study,
  data: string,
  name: string,
  options: Variant['options'],
  on: Question['on'],
): Promise<Cell[]> {
  const jobs = await study.runs({ ...epochsFor(options.method, name), ...options, classes: on, data })
  if (on === 'all') return [accuracy(jobs, name, 'all')]
  const [base, fresh] = [accuracy(jobs, name, 'base'), accuracy(jobs, name, 'new')]
  return [base, fresh, harmonic(base, fresh)]
}

function averageOf(sets: readonly Cell[][], on: Question['on']): Cell[] {
  const [first, fresh] = [0, 1].map((i) => mean(sets.flatMap((cells) => cells[i] ?? [])))
  if (first === undefined || fresh === undefined) return []
  return on === 'all' ? [first] : [first, fresh, harmonic(first, fresh)]
}

/** How many numbers a run learns: the context, once or for each class of the first data set, and the Meta-Net with its biases. */
async function countParameters(study: Study, data: string, run: Options): Promise<number> {
  const { embed_dim, ctx_dim } = await dimensions(study)
  const cocoop = run.method === 'cocoop'
  const contexts = run.csc === true ? await study.planner.classCount(data, 'all') : 1
  const hidden = Math.floor(embed_dim / (run.meta_net_reduction ?? 16))
  const meta_net = cocoop ? hidden * (embed_dim + 1) + ctx_dim * (hidden + 1) : 0
  return contexts * (run.n_ctx ?? (cocoop ? 4 : 16)) * ctx_dim + meta_net
}

const known = new Map<string, { embed_dim: number; ctx_dim: number }>()

async function dimensions({ flags }: Study): Promise<{ embed_dim: number; ctx_dim: number }> {
  const target = flags.model ?? DEFAULT_MODEL
  const found = known.get(target)
  if (found !== undefined) return found
  const { model } = await openModel(await nativeEngine(), target)
  using opened = model
  const dimensions = { embed_dim: opened.info.embed_dim, ctx_dim: opened.info.text?.width ?? 0 }
  known.set(target, dimensions)
  return dimensions
}
