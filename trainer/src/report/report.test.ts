/** Whole reports: of one run, of many, and of what is not as it should be. What they look like is tested in a browser. */
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openDataset } from '../datasets/open.ts'
import { Terminal } from '../terminal.ts'
import { embeddedTest, inventedTest, makeRun } from '../testing/report-runs.ts'
import { reportRun, writeReport } from './report.ts'

const home = mkdtempSync(join(tmpdir(), 'cocoop-report-'))
const at = (name: string) => join(home, name)
const said: string[] = []
const terminal = new Terminal({ write: (text) => said.push(text) }, false)
const context = { terminal, signal: new AbortController().signal }
const report = async (...folders: string[]) => {
  const written = await writeReport(folders, at('out.html'), context)
  return { ...written, html: readFileSync(written.out, 'utf8') }
}
const count = (html: string, part: string) => html.split(part).length - 1

test('a run: figures with their intervals, plots, pictures, in one small file that asks for nothing', async () => {
  makeRun(at('one'), { tests: [await embeddedTest('emoji-kinds')], steps: 3000 })
  const { html, runs, notes, bytes } = await report(at('one'))
  expect(notes).toEqual([])
  expect(bytes).toBeLessThan(3_000_000)
  const [{ tests: [figures] = [] } = {}] = runs
  expect(figures).toMatchObject({ data: 'emoji-kinds', total: 400, accuracy: { low: expect.any(Number) } })
  expect(html).toContain(`${figures?.accuracy.value.toFixed(1)} %`)
  expect(count(html, '<img ')).toBeGreaterThan(30)
  expect(count(html, '<svg class="wide"')).toBe(4) // loss, learning rate, training accuracy, reliability
  expect(count(html, '<svg class="narrow"')).toBe(4)
  expect(html.replaceAll(/xmlns(:xlink)?="[^"]*"/g, '')).not.toMatch(/https?:|<link|@import|url\((?!#)| src="(?!data:)/)
  expect(html).not.toMatch(/ style="| on[a-z]+="/) // the page's policy forbids them
  expect(figures?.worst.every(({ classname, predicted }) => classname !== predicted)).toBe(true)
  expect(figures?.worst.map(({ prob }) => prob)).toEqual(
    figures?.worst.map(({ prob }) => prob).toSorted((a, b) => b - a),
  )
  expect((await report(at('one'))).html).toBe(html) // nothing in it changes by itself
})

test('class names and paths cannot leave their places', async () => {
  const evil = `</script><img src=x onerror=alert(1)>"'&`
  const { images } = inventedTest(2, 40)
  makeRun(at('evil'), {
    tests: [
      {
        data: 'gone',
        classes: 'all',
        classnames: [evil, 'tame'],
        images: images.map((image) => ({ ...image, path: `${evil}${image.path}` })),
      },
    ],
    options: { name: evil, ctx_init: evil },
    steps: 10,
  })
  const { html } = await report(at('evil'))
  expect(html).not.toContain('<img')
  expect(count(html, '</script>')).toBe(1)
})

test('where the data is gone the report says so and goes on', async () => {
  makeRun(at('gone'), { tests: [inventedTest(5, 100)] })
  const { html, notes } = await report(at('gone'))
  expect(notes).toEqual([expect.stringContaining('There are no pictures: the data set gone cannot be opened')])
  expect(html).toContain('There are no pictures')
  expect(html).toContain('Worst mistakes')
  expect(html).not.toContain('<img')
})

test('pictures of a further test come from where its own data lies', async () => {
  const { test: items } = await openDataset('emoji-kinds')
  const [picture] = items
  for (const name of ['one', 'two']) {
    mkdirSync(at(`mine/test/${name}`), { recursive: true })
    writeFileSync(at(`mine/test/${name}/a.png`), (await picture?.read()) ?? '')
  }
  const { test: images, classnames } = await openDataset(at('mine'))
  const own = inventedTest(2, 10)
  makeRun(at('elsewhere'), {
    tests: [own, { data: 'mine', classes: 'all', classnames, images, source: { data: at('mine') } }],
    accuracy: 0,
  })
  const { html, notes } = await report(at('elsewhere'))
  expect(notes).toEqual([expect.stringContaining('the data set gone cannot be opened')])
  expect(count(html, '<img ')).toBeGreaterThan(1)
})

test('a thousand classes: the most confused of them, and a file that is still small', async () => {
  makeRun(at('many'), { tests: [inventedTest(1000, 10_000)], steps: 20_000 })
  const { html, bytes } = await report(at('many'))
  expect(html).toContain('Confusion matrix of the 60 most confused of 1000 classes')
  expect(html).toContain('class 999')
  expect(bytes).toBeLessThan(3_000_000)
})

test('two hundred classes are drawn as a whole', async () => {
  makeRun(at('birds'), { tests: [inventedTest(200, 4000)] })
  const { html, bytes } = await report(at('birds'))
  expect(html).toContain('Confusion matrix of 200 classes')
  expect(count(html, 'data-cell')).toBeGreaterThan(400)
  expect(bytes).toBeLessThan(3_000_000)
})

test('nothing wrong, nothing tested, nothing finished, a torn line, losses that are no numbers', async () => {
  makeRun(at('right'), { tests: [inventedTest(3, 30)], accuracy: 2 })
  expect((await report(at('right'))).html).toContain('every image was recognised')
  makeRun(at('untested'), { steps: 50 })
  expect((await report(at('untested'))).runs).toMatchObject([{ finished: true, tests: [] }])
  makeRun(at('begun'), { finished: false, steps: 100 })
  appendFileSync(
    join(at('begun'), 'metrics.jsonl'),
    '{"kind":"step","step":101,"loss":null,"lr":0.1}\n{"kind":"step","st',
  )
  const { html } = await report(at('begun'))
  expect(html).toContain('This run is not finished')
  expect(html).toContain('1 steps had no finite loss')
  makeRun(at('figures-only'), { tests: [inventedTest(3, 30)] })
  rmSync(join(at('figures-only'), 'tests/gone-all.jsonl'))
  expect((await report(at('figures-only'))).html).toContain('The images of this test were not kept')
})

test('what is no run is refused by name; at the end of a run it is a warning', async () => {
  await expect(report(at('nowhere'))).rejects.toMatchObject({ code: 'not_found' })
  mkdirSync(at('empty'))
  await expect(report(at('empty'))).rejects.toMatchObject({
    code: 'not_found',
    message: expect.stringContaining('holds no run'),
  })
  makeRun(at('broken'), { tests: [inventedTest(3, 30)] })
  writeFileSync(
    join(at('broken'), 'tests/gone-all.jsonl'),
    '{"path":"a","label":9,"predicted":0,"prob":1,"prob_label":0}\n',
  )
  await expect(report(at('broken'))).rejects.toMatchObject({
    code: 'bad_data',
    message: expect.stringContaining('class 9 of 3'),
  })
  writeFileSync(join(at('broken'), 'tests/gone-all.json'), '{}')
  await expect(report(at('broken'))).rejects.toMatchObject({
    code: 'bad_data',
    message: expect.stringMatching(/gone-all\.json: data/),
  })
  await reportRun(at('broken'), context)
  expect(said.join('')).toMatch(/warning: there is no report of .*broken: .*gone-all\.json/)
})

test('a sweep: base and new with H over seeds, curves over shots, other data sets', async () => {
  for (const seed of [1, 2, 3]) {
    for (const [method, accuracy] of [
      ['coop', 0.7],
      ['cocoop', 0.9],
    ] as const) {
      for (const shots of [1, 4, 16]) {
        const tests = ['base', 'new'].map((classes) => inventedTest(10, 200, { classes }))
        const options = { method, seed, shots, classes: 'base', epochs: 50 * shots }
        makeRun(at(`sweep/${method}/${shots}-${seed}`), { tests, options, accuracy: accuracy - 0.3 / shots })
      }
    }
  }
  const source = inventedTest(10, 100)
  const other = inventedTest(5, 50, { data: 'elsewhere' })
  makeRun(at('sweep/transfer'), { tests: [source, other], options: { epochs: 800 }, accuracy: 0.5 })
  const cells = { 'CoOp H': { mean: 71.5, std: 0.25, values: [{}, {}] }, 'CoCoOp H': null }
  const tables = [{ title: 'Base to <new>', columns: ['CoOp H', 'CoCoOp H'], rows: [{ label: 'gone', cells }] }]
  writeFileSync(join(at('sweep'), 'tables.json'), JSON.stringify({ protocol: 'base-to-new', tables }))
  const { html, groups, runs } = await report(at('sweep'))
  expect(html).toContain('<h1>Base-to-new, sweep</h1>')
  expect(html).toContain('71.50 ± 0.25')
  expect(runs).toHaveLength(19)
  const found = groups.filter(({ group, classes }) => group === 'CoCoOp, 16 shots' && classes === 'base')
  expect(found).toEqual([expect.objectContaining({ seeds: 3, tested: 'gone', mean: expect.closeTo(88, -1) })])
  expect(groups).toContainEqual(expect.objectContaining({ data: 'gone', tested: 'elsewhere', seeds: 1 }))
  for (const head of ['Base to new', 'Few shots', 'Other data sets']) expect(html).toContain(`>${head}</h2>`)
  expect(html).not.toContain('epochs 50') // that follows from the shots
  expect(html).toContain('average of targets')
  expect(html).toContain('href="sweep/coop/1-1/report.html"')
})

test('two runs side by side: the same images, compared one by one', async () => {
  const tests = [inventedTest(4, 300)]
  makeRun(at('a'), { tests, options: { seed: 1 }, accuracy: 0.9 })
  makeRun(at('b'), { tests, options: { seed: 2, n_ctx: 16 }, accuracy: 0.6 })
  const { html } = await report(at('a'), at('b'), at('a'))
  expect(html).toContain('<h1>2 runs</h1>')
  expect(html).toContain('&#60; 0.0001')
  expect(html).toContain('How the runs differ')
})
