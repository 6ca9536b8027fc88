/**
 * Reports in a real browser, on a desk and on a phone, light and dark: nothing sticks out, nothing fails, nothing is asked for, and what
 * is drawn is what there is. COCOOP_CHROMIUM names a Chromium that stands elsewhere.
 */
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CALIBRATION_BINS } from '../metrics.ts'
import { Terminal } from '../terminal.ts'
import { embeddedTest, inventedTest, makeRun } from '../testing/report-runs.ts'
import { writeReport } from './report.ts'

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const executablePath = [process.env.COCOOP_CHROMIUM ?? '', ...PLACES].find((path) => path !== '' && existsSync(path))
const why = executablePath === undefined ? ' (skipped: there is no Chromium; COCOOP_CHROMIUM names one)' : ''

describe.skipIf(executablePath === undefined)(`reports in Chromium${why}`, { timeout: 120_000 }, () => {
  const home = mkdtempSync(join(tmpdir(), 'cocoop-browser-'))
  const at = (name: string) => join(home, name)
  let browser: Browser
  beforeAll(async () => {
    browser = await chromium.launch({ ...(executablePath && { executablePath }), args: ['--no-sandbox'] })
    const context = { terminal: new Terminal({ write: () => {} }, true), signal: new AbortController().signal }
    const kinds = await embeddedTest('emoji-kinds', 300)
    makeRun(at('run'), { tests: [kinds, { ...kinds, classes: 'base' }, { ...kinds, classes: 'new' }], steps: 2000 })
    await writeReport([at('run')], undefined, context)
    for (const seed of [1, 2]) {
      for (const shots of [1, 2, 4]) {
        const tests = ['base', 'new'].map((classes) =>
          inventedTest(10, 200, { classes, data: 'a-data-set-with-a-long-name' }),
        )
        for (const method of ['coop', 'cocoop']) {
          makeRun(at(`sweep/${method}-${shots}-${seed}`), {
            tests,
            options: { method, seed, shots, classes: 'base' },
            steps: 300,
          })
        }
      }
    }
    await writeReport([at('sweep')], undefined, context)
    makeRun(at('many'), { tests: [inventedTest(200, 4000)] })
    await writeReport([at('many')], undefined, context)
  }, 120_000)
  afterAll(() => browser.close())

  /** Opens a report; whatever goes wrong in it is in `wrong`. */
  async function open(
    name: string,
    width: number,
    height: number,
    more: object = {},
  ): Promise<{ page: Page; wrong: string[] }> {
    const page = await browser.newPage({ viewport: { width, height }, ...more })
    const wrong: string[] = []
    page.on('console', (message) => wrong.push(message.text()))
    page.on('pageerror', (error) => wrong.push(error.message))
    const own = pathToFileURL(at(`${name}/report.html`)).href
    page.on('request', (request) => {
      if (request.url() !== own && !request.url().startsWith('data:')) wrong.push(`asks for ${request.url()}`)
    })
    await page.goto(own)
    return { page, wrong }
  }

  test.each(
    ['run', 'sweep', 'many'].flatMap((name) =>
      [
        [360, 740],
        [1280, 900],
      ].flatMap(([width = 0, height = 0]) => ['light', 'dark'].map((scheme) => [name, width, height, scheme] as const)),
    ),
  )('%s at %ix%i, %s', async (name, width, height, colorScheme) => {
    const { page, wrong } = await open(name, width, height, { colorScheme })
    const seen = await page.evaluate(() => {
      const shown = (node: Element) => getComputedStyle(node).display !== 'none'
      const plots = [...document.querySelectorAll('figure.plot')]
      const small = [...document.querySelectorAll('figure.plot svg[role=img]')]
        .filter(shown)
        .flatMap((svg) => [...svg.querySelectorAll('text')].map((text) => text.getBoundingClientRect().height))
      const luminance = (colour: string) =>
        (colour.match(/\d+/g) ?? []).slice(0, 3).reduce((sum, part) => sum + Number(part), 0)
      return {
        over: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        plots: plots.length,
        shown: plots.map((plot) => [...plot.querySelectorAll('svg[role=img]')].filter(shown).length),
        named: plots.every((plot) =>
          [...plot.querySelectorAll('svg[role=img]')].every(
            (svg) => document.getElementById(svg.getAttribute('aria-labelledby') ?? '')?.textContent,
          ),
        ),
        small: Math.min(...small),
        broken: [...document.images].filter(({ complete, naturalWidth }) => !complete || naturalWidth === 0).length,
        dark:
          luminance(getComputedStyle(document.body).backgroundColor) < luminance(getComputedStyle(document.body).color),
        ids: [...document.querySelectorAll('[id]')].map(({ id }) => id),
      }
    })
    expect(wrong).toEqual([])
    expect(seen).toMatchObject({ over: 0, broken: 0, dark: colorScheme === 'dark', named: true })
    expect(seen.plots).toBeGreaterThan(0)
    expect(seen.shown.every((n) => n === 1)).toBe(true) // the wide or the narrow one
    expect(seen.small).toBeGreaterThan(8) // CSS pixels: still to be read
    expect(new Set(seen.ids).size).toBe(seen.ids.length)
    await page.close()
  })

  test('a run has a bar for each figure, a column for each bin, a curve, pictures, and a cell for each confusion', async () => {
    const { page } = await open('run', 1280, 900)
    const marks = (plot: string, series: number) => page.locator(`#${plot} svg.wide [data-mark="${series}"]`).count()
    expect(await marks('accuracy', 0)).toBe(4) // all, base, new, H
    expect(await marks('accuracy', 1)).toBe(4) // their whiskers
    const bins = await page
      .locator('#t0-reliability tbody tr')
      .evaluateAll((rows) => rows.map((row) => Number((row as HTMLTableRowElement).cells[1]?.textContent)))
    expect(bins).toHaveLength(CALIBRATION_BINS)
    expect(bins.reduce((sum, n) => sum + n, 0)).toBe(300)
    expect(await marks('t0-reliability', 0)).toBe(bins.filter((n) => n > 0).length)
    expect(await marks('t0-reliability', 1)).toBe(bins.filter((n) => n > 0).length)
    expect(await page.locator('#loss svg.wide title').first().textContent()).toMatch(/^Training loss over 2000 steps/)
    expect(
      await page
        .locator('#loss svg.wide path')
        .evaluateAll((paths) => Math.max(...paths.map((path) => (path.getAttribute('d') ?? '').split('L').length))),
    ).toBeGreaterThan(150)
    expect(await page.locator('img').count()).toBeGreaterThan(60)
    const cells = await page.locator('svg.matrix').first().locator('[data-cell] title').allTextContents()
    const counted = cells.map((title) => Number(/: (\d+) of/.exec(title)?.[1]))
    expect(counted.reduce((sum, n) => sum + n, 0)).toBe(300)
    await page.close()
  })

  test('tables are sorted by a click, and there without a script', async () => {
    const { page } = await open('run', 1280, 900)
    const column = () => page.locator('table.sortable').first().locator('tbody tr td:nth-child(3)').allTextContents()
    const before = await column()
    await page.locator('table.sortable').first().getByRole('button', { name: 'accuracy' }).click()
    const sorted = (await column()).map(Number)
    expect(sorted).toEqual(before.map(Number).sort((a, b) => a - b))
    expect(sorted).not.toEqual(before.map(Number))
    await page.close()
    const plain = await open('run', 360, 740, { javaScriptEnabled: false })
    expect(await plain.page.locator('table.sortable tbody tr').count()).toBeGreaterThan(30)
    expect(await plain.page.locator('figure.plot svg.narrow').first().isVisible()).toBe(true)
    await plain.page.close()
  })

  test('a sweep has a line for each method and a point for each number of shots', async () => {
    const { page } = await open('sweep', 1280, 900)
    expect(await page.locator('#shots-0 .legend li').count()).toBe(2)
    expect(await page.locator('#shots-0 svg.wide [data-mark="0"]').count()).toBe(3)
    expect(await page.locator('#base-new-bars svg.wide [data-mark="0"]').count()).toBe(3) // base, new, H
    await page.close()
  })

  test('on paper all is light', async () => {
    const { page } = await open('run', 1280, 900, { colorScheme: 'dark' })
    await page.emulateMedia({ media: 'print', colorScheme: 'dark' })
    expect(await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).toBe('rgb(255, 255, 255)')
    expect((await page.pdf()).length).toBeGreaterThan(10_000)
    await page.close()
  })
})
