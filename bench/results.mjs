/**
 * What is reached on the embedded data: the protocols' tables over seeds, beside the original PyTorch code where data/README.md has
 * its figures. Settings are those of that file: 16 shots, context from "a photo of a", CoOp 50 epochs of batch 32, CoCoOp 10 of batch 1.
 * `npm run bench -- results [--json] [--seeds 1,2,3] [--only TEXT] [--out DIR]`; a DIR that is kept goes on where it was stopped.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    seeds: { type: 'string', default: '1,2,3' },
    only: { type: 'string', default: '' },
    out: { type: 'string' },
  },
})
const CLI = join(import.meta.dirname, '../trainer/dist/cli.js')
const SCHEDULE = ['--option', 'coop.epochs=50']
const ALL = 'zero-shot,linear-probe,coop,cocoop'
/** Whose drawings the sets are of: the `@TEXT` of a part. One learns, the others are tested. */
const [DRAWN, ...OTHERS] = ['fluent-color', 'fluent-3d', 'noto-v1', 'fxemoji']

/** data/README.md, "Known figures": means over the seeds that are named. */
const ORIGINAL = 'original PyTorch code, f32'
const EXPERIMENTS = [
  {
    name: 'base-to-new',
    args: ['base-to-new', '--data', 'emoji-backdrops,emoji-kinds', '--method', ALL],
    known: {
      'emoji-backdrops': {
        peer: `${ORIGINAL}, seeds 1-3`,
        'zero-shot': { base: 10.3, new: 8.5, H: 9.3 },
        CoOp: { base: 85.2, new: 84.0, H: 84.6 },
        CoCoOp: { base: 85.0, new: 82.3, H: 83.6 },
      },
      'emoji-kinds': {
        peer: `${ORIGINAL}, seed 1`,
        'zero-shot': { base: 68.7, new: 78.8, H: 73.4 },
        CoOp: { base: 63.4, new: 71.2, H: 67.0 },
        CoCoOp: { base: 67.2, new: 74.7, H: 70.7 },
      },
    },
  },
  ...[
    ['emoji-backdrops', 'emoji-kinds'],
    ['emoji-kinds', 'emoji-backdrops'],
  ].map(([source, data]) => ({
    name: `cross-dataset-${source}`,
    args: ['cross-dataset', '--source', source, '--data', data, '--method', 'zero-shot,coop,cocoop'],
    known: {},
  })),
  {
    name: 'shifts',
    args: ['domain-generalization', '--source', 'emoji-backdrops', '--method', ALL],
    known: {},
  },
  ...['emoji-backdrops', 'emoji-kinds'].map((set) => ({
    name: `styles-${set}`,
    args: [
      'domain-generalization',
      ...['--source', `${set}@${DRAWN}`, '--data', OTHERS.map((style) => `${set}@${style}`).join(',')],
      ...['--method', ALL, '--shots', '0'],
    ],
    known: {},
  })),
]
/** A half holds 288 to 400 test pictures: its accuracy is known to about so many points (95 %). */
const POINTS = 4

const work = values.out ?? mkdtempSync(join(tmpdir(), 'cocoop-bench-'))
const rows = []
const started = performance.now()
try {
  for (const { name, args, known } of EXPERIMENTS.filter(({ name }) => name.includes(values.only))) {
    const out = join(work, name)
    const line = ['cocoop-train', ...args, ...SCHEDULE, '--seed', values.seeds]
    say(`$ ${line.join(' ')}`)
    const begun = performance.now()
    await run([...args, ...SCHEDULE, '--seed', values.seeds, '--out', out])
    say(`# ${((performance.now() - begun) / 1000).toFixed(0)} s\n`)
    const { tables } = JSON.parse(readFileSync(join(out, 'tables.json'), 'utf8'))
    for (const table of tables) rows.push(...rowsOf(name, table, known))
  }
} finally {
  if (values.out === undefined) rmSync(work, { recursive: true, force: true })
}
for (const row of rows.filter(({ theirs }) => theirs !== null)) {
  const { name, ours, theirs, spread } = row
  say(
    `${name.padEnd(44)} ${ours.toFixed(1).padStart(5)}   original ${theirs.toFixed(1)}   over seeds ${spread.toFixed(1)}`,
  )
}
say(`all: ${((performance.now() - started) / 1000).toFixed(0)} s`)
if (values.json) console.log(JSON.stringify(rows, null, 2))

/** One protocol as a process; its table goes where this bench's words go. */
async function run(args) {
  const child = spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', values.json ? 2 : 1, 'inherit'] })
  const code = await new Promise((resolve) => child.on('close', resolve))
  if (code !== 0) throw new Error(`${args[0]} ended with ${code}`)
}

/** A row for each number; H is that of the averaged base and new, as in the papers. `spread`: largest minus smallest seed, points. */
function rowsOf(experiment, table, known) {
  return table.rows.flatMap(({ label, cells }) =>
    Object.entries(cells)
      .filter(([, figure]) => figure !== null)
      .map(([column, figure]) => {
        const [, method, what] = /^(.*) (\S+)$/.exec(column)
        const theirs = known[label]?.[method]?.[what] ?? null
        const seeds = figure.values.map(({ value }) => value)
        return {
          name: `${experiment} ${label}, ${column}`,
          peer: theirs === null ? null : known[label].peer,
          ours: round(figure.mean),
          theirs,
          unit: '% accuracy',
          ratio: theirs === null ? null : round(figure.mean / theirs),
          goal: theirs === null ? null : round((theirs - POINTS) / theirs),
          spread: round(Math.max(...seeds) - Math.min(...seeds)),
        }
      }),
  )
}

/** Progress, and without --json the result. */
function say(line) {
  if (values.json) console.error(line)
  else console.log(line)
}

function round(value) {
  return Math.round(value * 1000) / 1000
}
