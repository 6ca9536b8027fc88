/** The report of several runs, or of all that lie below a folder: the protocols' tables and curves, and how the runs differ. */
import { dirname, relative, sep } from 'node:path'
import { byCodePoint } from '../datasets/dataset.ts'
import { formatDuration } from '../progress.ts'
import { barPlot, curvePlot, type Line, lossesPlot } from './charts.ts'
import { average, type Cell, cell, differing, type Group, groupsOf, harmonicOf, optionText, shotsOf } from './groups.ts'
import { type Content, details, type Html, html, table } from './html.ts'
import { mcNemar, wilson } from './intervals.ts'
import { page } from './page.ts'
import { figure, SERIES_COLOURS } from './plot.ts'
import type { Run, Test } from './read-run.ts'
import { METHODS, percent, range } from './words.ts'

const PAIRED = 6

/** A figure of a group over its seeds, as --json prints it. */
export interface GroupFigures {
  group: string
  /** What it was trained on. */
  data: string
  /** What it was tested on. */
  tested: string
  classes: string
  mean: number
  deviation: number
  seeds: number
}

/** The page of several runs, and the figures of their groups. `out` is where it will lie: links to the runs' own reports start there. `protocol`: its tables. */
export async function comparePage(
  title: string,
  runs: readonly Run[],
  out: string,
  protocol?: Html,
): Promise<{ html: string; groups: GroupFigures[] }> {
  const groups = groupsOf(runs)
  const unfinished = runs.filter(({ result }) => result === undefined).length
  const sections: [id: string, name: string, content: Html | undefined][] = [
    ['protocol', "The protocol's tables", protocol],
    ['base-new', 'Base to new', await baseToNew(groups)],
    ['shots', 'Few shots', await fewShots(runs)],
    ['transfer', 'Other data sets', await transfer(groups)],
    ['all', 'Accuracy', await plain(groups)],
    ['images', 'Image by image', paired(runs)],
    ['learning', 'Training', await losses(runs)],
    ['runs', 'Runs', runTable(runs, out)],
    ['options', 'How the runs differ', options(runs)],
  ]
  const there = sections.flatMap(([id, name, content]) => (content === undefined ? [] : [{ id, name, content }]))
  const body = html`<header>
<h1>${title}</h1>
<p class="lead">${runs.length} runs, ${groups.length} ${groups.length === 1 ? 'setting' : 'settings'}: ${groups
    .slice(0, 12)
    .map(({ name, runs }) => `${name} (${runs.length})`)
    .join('; ')}${groups.length > 12 && ' and more'}.</p>
${unfinished > 0 && html`<p class="warning">${unfinished} of ${runs.length} runs are not finished; their tests are not all here.</p>`}
</header>
<nav aria-label="Sections"><ul>${there.map(({ id, name }) => html`<li><a href="#${id}">${name}</a></li>`)}</ul></nav>
<main>
${there.map(({ id, name, content }) => html`<h2 id="${id}">${name}</h2>\n${content}\n`)}
</main>`
  return { html: page(title, body), groups: figuresOf(groups) }
}

const SPREAD =
  'Whiskers: one standard deviation over seeds to each side; the 95 % confidence interval (Wilson) of the test images where there is one seed.'

/** Tables and bars of base accuracy, new accuracy and H, for each data set and their average. */
async function baseToNew(groups: readonly Group[]): Promise<Html | undefined> {
  const both = groups
    .map((group) => ({
      ...group,
      runs: group.runs.filter(
        ({ tests, config: { data } }) => has(tests, data.name, 'base') && has(tests, data.name, 'new'),
      ),
    }))
    .filter(({ runs }) => runs.length > 0)
  const sets = dataOf(both)
  if (sets.length === 0) return undefined
  const row = (runs: readonly Run[], data: string) => {
    const [base, fresh] = [cell(runs, data, data, 'base'), cell(runs, data, data, 'new')]
    return [base, fresh, harmonicOf(base, fresh)]
  }
  const tables = sets.map((data) => ({
    name: data,
    rows: both.map(({ name, runs }) => ({ name, cells: row(runs, data) })),
  }))
  const means = both.map(({ name, runs }) => {
    const rows = sets.map((data) => row(runs, data))
    const [base, fresh] = [average(rows.map(([base]) => base)), average(rows.map(([, fresh]) => fresh))]
    return { name, cells: [base, fresh, harmonicOf(base, fresh)] }
  })
  const all = sets.length > 1 ? [{ name: `Average over ${sets.length} data sets`, rows: means }, ...tables] : tables
  const [shown] = all
  const drawn = (shown?.rows ?? []).slice(0, SERIES_COLOURS)
  const bars = {
    groups: ['base', 'new', 'H'],
    series: drawn.map(({ name, cells }) => ({ name, values: cells })),
    whiskers: SPREAD,
  }
  return html`<p class="note">Trained on the first half of the classes, tested on both. H is the harmonic mean of mean base and mean new accuracy, as in the papers.</p>
${await figure(barPlot('base-new-bars', shown?.name ?? '', bars))}
${all.map(({ name, rows }) =>
  table(
    name,
    [{ head: name }, ...['base', 'new', 'H'].map((head) => ({ head, number: true }))],
    rows.map(({ name, cells }) => [name, ...cells.map(written)]),
  ),
)}`
}

/** Curves over shots, for each choice of classes, each data set and their average. */
async function fewShots(runs: readonly Run[]): Promise<Html | undefined> {
  const figures: Html[] = []
  for (const [classes, chosen] of Map.groupBy(runs, ({ config }) => config.options.classes)) {
    const lines = groupsOf(chosen, ['shots']).map(({ name, runs }) => ({
      name,
      byShots: Map.groupBy(runs, shotsOf),
    }))
    const sets = dataOf([{ runs: chosen }])
    const own = (runs: readonly Run[], data: string) => cell(runs, data, data, classes)
    const plots: [string, (runs: readonly Run[]) => Cell | undefined][] = [
      ...(sets.length > 1
        ? [['Average', (runs: readonly Run[]) => average(sets.map((data) => own(runs, data)))] as const]
        : []),
      ...sets.map((data) => [data, (runs: readonly Run[]) => own(runs, data)] as const),
    ].map(([name, at]) => [`${name}, ${classes} classes`, at])
    for (const [name, at] of plots) {
      const drawn = lines
        .map(({ name, byShots }): Line => ({ name, points: [...byShots].flatMap(([x, runs]) => point(x, at(runs))) }))
        .filter(({ points }) => points.length > 0)
        .slice(0, SERIES_COLOURS)
      if (!drawn.some(({ points }) => points.length > 1)) continue
      const id = `shots-${figures.length}`
      const note = `${SPREAD} 0: nothing is trained.`
      figures.push(await figure(curvePlot(id, name, 'training images per class', drawn, note)))
    }
  }
  const [first, ...rest] = figures
  if (first === undefined) return undefined
  return html`${first}${rest.length > 3 ? details('Each data set', rest) : rest}`
}

function point(x: number, found: Cell | undefined): Line['points'] {
  return found === undefined ? [] : [{ x, value: found.value, low: found.low, high: found.high }]
}

/** What was learned on one data set, tested on others. */
async function transfer(groups: readonly Group[]): Promise<Html | undefined> {
  const parts: Html[] = []
  for (const source of dataOf(groups)) {
    const rows = groups
      .map(({ name, runs }) => ({
        name,
        runs: runs.filter(
          ({ config, tests }) => config.data.name === source && tests.some(({ data }) => data !== source),
        ),
      }))
      .filter(({ runs }) => runs.length > 0)
    const tests = rows.flatMap(({ runs }) => runs.flatMap(({ tests }) => tests))
    const targets = distinct(
      tests.filter(({ data }) => data !== source).map(({ data, classes }) => ({ data, classes })),
    )
    if (targets.length === 0) continue
    const own = distinct(tests.filter(({ data }) => data === source).map(({ data, classes }) => ({ data, classes })))
    const cells = rows.map(({ name, runs }) => {
      const there = targets.map(({ data, classes }) => cell(runs, source, data, classes))
      return {
        name,
        cells: [...own.map(({ classes }) => cell(runs, source, source, classes)), ...there, average(there)],
      }
    })
    const label = ({ data, classes }: { data: string; classes: string }) =>
      classes === 'all' ? data : `${data} ${classes}`
    const heads = [...own.map((test) => `${label(test)} (source)`), ...targets.map(label), 'average of targets']
    const bars = {
      groups: heads,
      series: cells.slice(0, SERIES_COLOURS).map(({ name, cells }) => ({ name, values: cells })),
      whiskers: SPREAD,
    }
    const title = `Learned on ${source}`
    parts.push(html`${heads.length <= 14 && (await figure(barPlot(`transfer-${parts.length}`, title, bars)))}
${table(
  title,
  [{ head: title }, ...heads.map((head) => ({ head, number: true }))],
  cells.map(({ name, cells }) => [name, ...cells.map(written)]),
)}`)
  }
  return parts.length > 0 ? html`${parts}` : undefined
}

/** Runs on all classes of their data set. */
async function plain(groups: readonly Group[]): Promise<Html | undefined> {
  const sets = dataOf(groups)
  const rows = groups
    .map(({ name, runs }) => ({ name, cells: sets.map((data) => cell(runs, data, data, 'all')) }))
    .filter(({ cells }) => cells.some((found) => found !== undefined))
  if (rows.length === 0) return undefined
  const heads = sets.length > 1 ? [...sets, 'average'] : sets
  const full = rows.map(({ name, cells }) => ({ name, cells: sets.length > 1 ? [...cells, average(cells)] : cells }))
  const bars = {
    groups: heads,
    series: full.slice(0, SERIES_COLOURS).map(({ name, cells }) => ({ name, values: cells })),
    whiskers: SPREAD,
  }
  return html`${full.length <= SERIES_COLOURS && heads.length <= 14 && (await figure(barPlot('all-bars', 'Accuracy on all classes', bars)))}
${table(
  'Accuracy on all classes',
  [{ head: 'setting' }, ...heads.map((head) => ({ head, number: true }))],
  full.map(({ name, cells }) => [name, ...cells.map(written)]),
  { sortable: true, tall: true },
)}`
}

/** Two runs on the same images: which of them only one has right. */
function paired(runs: readonly Run[]): Html | undefined {
  if (runs.length < 2 || runs.length > PAIRED) return undefined
  const rows = runs.flatMap((one, i) =>
    runs.slice(i + 1).flatMap((other) =>
      one.tests.flatMap((test) => {
        const same = other.tests.find(({ data, classes }) => data === test.data && classes === test.classes)
        const counts = same && contest(test, same)
        if (counts === undefined) return []
        const { both, first, second, neither } = counts
        const p = mcNemar(first, second)
        return [
          [
            `${nameOf(one, runs)} and ${nameOf(other, runs)}`,
            `${test.data} ${test.classes}`,
            both,
            first,
            second,
            neither,
            p < 0.0001 ? '< 0.0001' : p.toFixed(4),
          ],
        ]
      }),
    ),
  )
  if (rows.length === 0) return undefined
  return html`<p class="note">Both runs saw the same images, which says more than two intervals do. p is the chance that counts of “only” are at least so unequal where both runs are equally good (McNemar's exact test): below 0.05 they differ.</p>
${table('Pairs of runs', [{ head: 'runs' }, { head: 'test' }, ...['both right', 'only the first', 'only the second', 'neither', 'p'].map((head) => ({ head, number: true }))], rows)}`
}

/** `undefined` unless both tests are of the same images. */
function contest(a: Test, b: Test) {
  if (a.images.length === 0 || a.images.length !== b.images.length) return undefined
  const right = new Map(b.images.map(({ path, label, predicted }) => [path, label === predicted]))
  const counts = { both: 0, first: 0, second: 0, neither: 0 }
  for (const { path, label, predicted } of a.images) {
    const [one, other] = [label === predicted, right.get(path)]
    if (other === undefined) return undefined
    counts[one ? (other ? 'both' : 'first') : other ? 'second' : 'neither'] += 1
  }
  return counts
}

async function losses(runs: readonly Run[]): Promise<Html | undefined> {
  const learned = runs.filter(({ curves }) => curves.steps.length > 0)
  if (learned.length === 0 || learned.length > SERIES_COLOURS) return undefined
  const plot = lossesPlot(
    'losses',
    learned.map((run) => ({ name: nameOf(run, runs), curves: run.curves })),
  )
  return plot && (await figure(plot))
}

function runTable(runs: readonly Run[], out: string): Html {
  const own = (run: Run, classes: string) => {
    const test = run.tests.find(({ data, classes: of }) => data === run.config.data.name && of === classes)
    return test && wilson(test.correct, test.total)
  }
  const classes = ['base', 'new', 'all'].filter((of) => runs.some((run) => own(run, of)))
  const rows = runs.map((run): Content[] => {
    const { config, method, result } = run
    const link = relative(dirname(out), run.folder).split(sep).map(encodeURIComponent).join('/')
    const name =
      result === undefined
        ? html`${nameOf(run, runs)} (not finished)`
        : html`<a href="${link}/report.html">${nameOf(run, runs)}</a>`
    const { shots, seed } = config.options
    const figures = classes.map((of) => own(run, of)).map((found) => found && `${percent(found)} (${range(found)})`)
    const seconds = result?.seconds
    return [
      name,
      METHODS[method] ?? method,
      config.data.name,
      method === 'zero-shot' ? '' : String(shots ?? ''),
      String(seed ?? ''),
      ...figures,
      seconds ? formatDuration(seconds) : '',
    ]
  })
  const columns = [
    { head: 'run' },
    { head: 'method' },
    { head: 'data' },
    ...['shots', 'seed', ...classes, 'time'].map((head) => ({ head, number: true })),
  ]
  return html`<p class="note">Accuracy on the run's own data set, with its 95 % confidence interval. Links lead to the runs' own reports, where these lie beside this page.</p>
${table('Runs', columns, rows, { sortable: true, tall: true })}`
}

function options(runs: readonly Run[]): Html | undefined {
  const names = differing(runs)
  if (names.length === 0) return undefined
  if (runs.length > SERIES_COLOURS) {
    const order = new Intl.Collator('en', { numeric: true })
    const values = (name: string) =>
      [...new Set(runs.map((run) => optionText(run, name)))].sort(order.compare).join(', ')
    return table(
      'Options that differ',
      [{ head: 'option' }, { head: 'values' }],
      names.map((name) => [name, values(name)]),
    )
  }
  return table(
    'Options that differ',
    [{ head: 'option' }, ...runs.map((run) => ({ head: nameOf(run, runs) }))],
    names.map((name) => [name, ...runs.map((run) => optionText(run, name))]),
  )
}

/** The end of a run's path that no other run's has. */
function nameOf(run: Run, runs: readonly Run[]): string {
  const parts = run.folder.split(/[\\/]/)
  for (let n = 1; n < parts.length; n++) {
    const end = parts.slice(-n).join('/')
    if (runs.filter(({ folder }) => folder === end || folder.endsWith(`/${end}`)).length <= 1) return end
  }
  return run.folder
}

/** `83.9 ± 1.2`, or without seeds `83.9`. */
function written(cell: Cell | undefined): string {
  if (cell === undefined) return ''
  return cell.seeds > 1 && cell.deviation > 0
    ? `${cell.value.toFixed(1)} ± ${cell.deviation.toFixed(1)}`
    : cell.value.toFixed(1)
}

function figuresOf(groups: readonly Group[]): GroupFigures[] {
  return groups.flatMap(({ name, runs }) =>
    dataOf([{ runs }]).flatMap((data) => {
      const tests = runs.filter(({ config }) => config.data.name === data).flatMap(({ tests }) => tests)
      return distinct(tests.map(({ data, classes }) => ({ data, classes }))).flatMap(({ data: tested, classes }) => {
        const found = cell(runs, data, tested, classes)
        if (found === undefined) return []
        return [
          { group: name, data, tested, classes, mean: found.value, deviation: found.deviation, seeds: found.seeds },
        ]
      })
    }),
  )
}

function dataOf(groups: readonly Pick<Group, 'runs'>[]): string[] {
  return [...new Set(groups.flatMap(({ runs }) => runs.map(({ config }) => config.data.name)))].sort(byCodePoint)
}

function has(tests: readonly Test[], data: string, classes: string): boolean {
  return tests.some((test) => test.data === data && test.classes === classes)
}

function distinct<T>(values: readonly T[]): T[] {
  return [...new Map(values.map((value) => [JSON.stringify(value), value])).values()]
}
