/** What a report computes: intervals, curves, confusions, groups, and text that is safe in a page. */
import { expect, test } from 'vitest'
import { Confusion } from './confusion.ts'
import { summarise } from './curves.ts'
import { html } from './html.ts'
import { harmonicInterval, mcNemar, wilson } from './intervals.ts'

test("Wilson's interval", () => {
  // statsmodels: proportion_confint(count, nobs, method='wilson')
  expect(wilson(8, 10)).toEqual({ value: 80, low: expect.closeTo(49.0162, 3), high: expect.closeTo(94.3318, 3) })
  expect(wilson(0, 20)).toEqual({ value: 0, low: 0, high: expect.closeTo(16.1125, 3) })
  expect(wilson(20, 20)).toEqual({ value: 100, low: expect.closeTo(83.8875, 3), high: 100 })
  expect(wilson(0, 0)).toEqual({ value: Number.NaN, low: 0, high: 100 })
})

test('the interval of H holds what H varies by', () => {
  const [base, fresh] = [wilson(320, 400), wilson(280, 400)]
  const h = harmonicInterval(base, fresh)
  expect(h.value).toBeCloseTo(74.6667, 4)
  // By the delta method 1.96 * hypot(0.4356 * 2.000, 0.5689 * 2.291) = 3.07, the same to both sides; Wilson's leans towards 50 %.
  expect((h.high - h.low) / 2).toBeCloseTo(3.07, 1)
  expect(h.value - h.low).toBeGreaterThan(h.high - h.value)
  expect(harmonicInterval(wilson(0, 10), wilson(0, 10)).value).toBe(0)
})

test("McNemar's exact test", () => {
  // scipy.stats.binomtest(k, n, 0.5).pvalue
  expect(mcNemar(35, 21)).toBeCloseTo(0.0814, 4)
  expect(mcNemar(0, 10)).toBeCloseTo(0.001953, 6)
  expect(mcNemar(5, 5)).toBe(1)
  expect(mcNemar(0, 0)).toBe(1)
  expect(mcNemar(400, 1600)).toBeGreaterThanOrEqual(0) // 2^-2000 is no number of its own
})

test('points hide no spike, the mean begins where the values do, and what is no number is counted', () => {
  const n = 10_000
  const steps = Array.from({ length: n }, (_, i) => i + 1)
  const values = steps.map((step) => (step === 7777 ? 99 : step === 20 ? Number.NaN : 3))
  const { points, perPoint, missing } = summarise(steps, values, 180)
  expect(points.length).toBeLessThanOrEqual(180)
  expect(perPoint).toBe(56)
  expect(points.at(-1)?.step).toBe(n)
  expect(Math.max(...points.map(({ high }) => high))).toBe(99)
  expect(points[0]?.smooth).toBeCloseTo(3)
  expect(missing).toBe(1)
  expect(summarise([1, 2], [5, 4], 180).points).toEqual([
    { step: 1, low: 5, high: 5, smooth: 5 },
    { step: 2, low: 4, high: 4, smooth: 4 },
  ])
  expect(summarise([], [], 180).points).toEqual([])
})

const images = (pairs: [label: number, predicted: number, times: number][]) =>
  pairs.flatMap(([label, predicted, times]) =>
    Array.from({ length: times }, (_, i) => ({
      path: `${label}-${predicted}-${i}`,
      label,
      predicted,
      prob: 1,
      prob_label: 0,
    })),
  )

test('pairs come by their counts, and the block of the most confused keeps them together', () => {
  const confusion = new Confusion(
    images([
      [0, 0, 9],
      [0, 5, 1],
      [3, 7, 4],
      [7, 3, 2],
      [7, 1, 3],
      [2, 2, 5],
    ]),
    8,
  )
  expect(confusion.pairs()).toEqual([
    { label: 3, predicted: 7, count: 4, back: 2, total: 4 },
    { label: 7, predicted: 1, count: 3, back: 0, total: 5 },
    { label: 7, predicted: 3, count: 2, back: 4, total: 5 },
    { label: 0, predicted: 5, count: 1, back: 0, total: 10 },
  ])
  expect(confusion.block(8)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  expect(confusion.block(3)).toEqual([3, 7, 1])
  expect(confusion.block(2)).toEqual([3, 7])
  expect(new Confusion(images([[1, 1, 3]]), 300).block(60)).toEqual([])
})

test('what is filled into HTML stays text', () => {
  const name = `<script>alert("1")</script>&'\u0000\ud800`
  expect(html`<p title="${name}">${[name, html`<b>${1}</b>`, null, false]}</p>`.text).toBe(
    '<p title="&#60;script&#62;alert(&#34;1&#34;)&#60;/script&#62;&#38;&#39;\ufffd\ufffd">&#60;script&#62;alert(&#34;1&#34;)&#60;/script&#62;&#38;&#39;\ufffd\ufffd<b>1</b></p>',
  )
})
