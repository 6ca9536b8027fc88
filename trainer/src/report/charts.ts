/** The plots of a report, each from its numbers. */
import type { CustomSeriesRenderItem } from 'echarts'
import { CALIBRATION_BINS, type CalibrationBin } from '../metrics.ts'
import { summarise } from './curves.ts'
import { html, table } from './html.ts'
import type { Interval } from './intervals.ts'
import { axis, COLOUR, DASHES, type Plot, type Size, seriesColour } from './plot.ts'
import type { Curves } from './read-run.ts'

const GRID = { left: 60, right: 16, top: 12, bottom: 44, outerBoundsMode: 'none' as const }
const POINTS = { wide: 180, narrow: 80 }
const ROWS = 24

/** A curve over steps: the range of what was measured, and its running mean. `undefined` where there is nothing. */
export function lossPlot(id: string, { steps, loss }: Curves): Plot | undefined {
  const { points, perPoint, missing } = summarise(steps, loss, POINTS.wide)
  if (points.length === 0) return undefined
  const last = points.at(-1)
  return {
    id,
    title: 'Loss',
    description: `Training loss over ${steps.length} steps, in nats; its running mean ends at ${last?.smooth.toFixed(4)}.`,
    note: html`Line: running mean over a fiftieth of the run. Behind it: ${perPoint === 1 ? 'each step' : `the range of each ${perPoint} steps (${Math.ceil(steps.length / POINTS.narrow)} on a phone)`}.${missing > 0 && ` ${missing} steps had no finite loss.`}`,
    height: 280,
    narrowHeight: 240,
    option: ({ narrow }) => {
      const { points } = summarise(steps, loss, narrow ? POINTS.narrow : POINTS.wide)
      const raw = points.map(({ step, low, high }) => [step, low, high])
      const smooth = points.map(({ step, smooth }) => [step, smooth])
      return {
        grid: GRID,
        xAxis: stepAxis(steps),
        yAxis: { type: 'value', min: 0, ...axis('loss, nats', { nameGap: 40 }) },
        series: [
          { type: 'custom', silent: true, encode: { x: 0, y: [1, 2] }, renderItem: band(raw), data: raw },
          line(smooth, 0, { lineStyle: { width: 2, color: seriesColour(0) } }),
        ],
      }
    },
    table: table(
      'Loss',
      [{ head: 'up to step' }, ...['least', 'most', 'running mean'].map((head) => ({ head, number: true }))],
      summarise(steps, loss, ROWS).points.map(({ step, low, high, smooth }) => [
        step,
        low.toFixed(4),
        high.toFixed(4),
        smooth.toFixed(4),
      ]),
    ),
  }
}

function stepAxis(steps: readonly number[]) {
  const axisLabel = { color: COLOUR.soft, alignMaxLabel: 'right' as const } // a long number would stick out
  return { type: 'value' as const, min: 0, max: steps.at(-1) ?? 1, ...axis('step', { nameGap: 26, axisLabel }) }
}

/** The learning rate over steps; every change is a corner, so no step is left out but those between two of a value. */
export function ratePlot(id: string, { steps, lr }: Curves): Plot | undefined {
  const corners = steps.flatMap((step, i) => {
    const inside = lr[i] === lr[i - 1] && lr[i] === lr[i + 1]
    return inside || !Number.isFinite(lr[i]) ? [] : [[step, lr[i] ?? 0] as const]
  })
  if (corners.length === 0) return undefined
  const rates = corners.map(([, rate]) => rate)
  return {
    id,
    title: 'Learning rate',
    description: `Learning rate over ${steps.length} steps, from ${rates[0]} to ${rates.at(-1)}, at most ${rates.reduce((a, b) => Math.max(a, b))}.`,
    height: 180,
    option: () => ({
      grid: GRID,
      xAxis: stepAxis(steps),
      yAxis: { type: 'value', min: 0, splitNumber: 3, ...axis('') },
      series: [line(corners, 4, { lineStyle: { width: 2, color: seriesColour(4) } })],
    }),
  }
}

/** Training accuracy of each epoch. */
export function trainingPlot(id: string, { epochs }: Curves): Plot | undefined {
  const points = epochs.filter(({ accuracy }) => Number.isFinite(accuracy))
  if (points.length === 0) return undefined
  return {
    id,
    title: 'Training accuracy',
    description: `Accuracy on the training images in each of ${points.length} epochs, ${points.at(-1)?.accuracy.toFixed(1)} % in the last.`,
    note: 'Of the images as they were drawn, before the step that learned from them.',
    height: 200,
    option: () => ({
      grid: GRID,
      xAxis: {
        type: 'value',
        min: 0,
        max: points.at(-1)?.epoch ?? 1,
        minInterval: 1,
        ...axis('epoch', { nameGap: 26 }),
      },
      yAxis: { type: 'value', min: 0, max: 100, ...axis('%', { nameGap: 36 }) },
      series: [
        line(
          points.map(({ epoch, accuracy }) => [epoch, accuracy]),
          2,
          {
            showSymbol: points.length <= 30,
            symbol: 'circle',
            symbolSize: 6,
            lineStyle: { width: 2, color: seriesColour(2) },
          },
        ),
      ],
    }),
    table: table(
      'Epochs',
      [{ head: 'epoch' }, { head: 'loss', number: true }, { head: 'training accuracy', number: true }],
      epochs.map(({ epoch, loss, accuracy }) => [epoch, loss.toFixed(4), `${accuracy.toFixed(1)} %`]),
    ),
  }
}

/** Bars in groups: `values[series][group]` is absent where it was not measured. */
export interface Bars {
  groups: readonly string[]
  series: readonly { name: string; values: readonly (Interval | undefined)[] }[]
  /** What the whiskers are. */
  whiskers: string
}

/** Bars of percent with whiskers. */
export function barPlot(id: string, title: string, { groups, series, whiskers }: Bars): Plot {
  const text = (value: Interval | undefined) =>
    value === undefined ? '' : `${value.value.toFixed(1)} % (${value.low.toFixed(1)} to ${value.high.toFixed(1)})`
  const single = series.length === 1
  const flat = series.flatMap(({ name, values }) =>
    values.map((value, i) => (value === undefined ? '' : `${single ? '' : `${name}, `}${groups[i]} ${text(value)}`)),
  )
  return {
    id,
    title,
    description: `${title}, percent: ${flat.filter((entry) => entry !== '').join('; ')}.`,
    note: whiskers,
    ...(single ? {} : { legend: series.map(({ name }) => name) }),
    height: isCrowded(groups, false) ? 340 : 280,
    narrowHeight: isCrowded(groups, true) ? 330 : 260,
    option: ({ narrow }) => ({
      grid: { ...GRID, bottom: isCrowded(groups, narrow) ? 110 : 44 },
      xAxis: {
        type: 'category',
        data: groups.map((name, i) => {
          const value = single ? (series[0]?.values[i]?.value.toFixed(1) ?? '') : ''
          return value === '' ? name : `${name}${isCrowded(groups, narrow) ? ' ' : '\n'}${value}`
        }),
        ...axis('', { axisTick: { show: false }, axisLabel: groupLabel(groups, narrow) }),
      },
      yAxis: { type: 'value', min: 0, max: 100, ...axis('accuracy, %', { nameGap: 36 }) },
      series: [
        ...series.map(({ values }, place) => ({
          type: 'bar' as const,
          silent: true,
          barMaxWidth: 64,
          barGap: '8%',
          itemStyle: { color: seriesColour(place), opacity: 0.75, borderRadius: [2, 2, 0, 0] },
          data: values.map((value) => value?.value ?? null),
        })),
        {
          type: 'custom' as const,
          silent: true,
          encode: { x: 0, y: [1, 2] },
          renderItem: whisker(series.length),
          data: series.flatMap(({ values }, place) =>
            values.flatMap((value, group) =>
              value !== undefined && value.high > value.low ? [[group, value.low, value.high, place]] : [],
            ),
          ),
        },
      ],
    }),
    tip: (place, group) => {
      const value = series[place]?.values[group]
      return value && `${single ? '' : `${series[place]?.name}, `}${groups[group]}: ${text(value)}`
    },
    table: table(
      title,
      [{ head: '' }, ...groups.map((head) => ({ head, number: true }))],
      series.map(({ name, values }) => [name, ...values.map(text)]),
    ),
  }
}

/** Too many groups for their names to stand side by side. */
function isCrowded(groups: readonly string[], narrow: boolean): boolean {
  return groups.length > (narrow ? 3 : 6)
}

function groupLabel(groups: readonly string[], narrow: boolean): object {
  const label = { color: COLOUR.ink, interval: 0, lineHeight: 15 }
  if (isCrowded(groups, narrow)) return { ...label, rotate: 50, fontSize: 10, width: 120, overflow: 'truncate' }
  return { ...label, width: (narrow ? 260 : 640) / groups.length, overflow: 'break' }
}

/** Accuracy against confidence, and how many predictions each bin holds. */
export function reliabilityPlot(id: string, bins: readonly CalibrationBin[], ece: number): Plot {
  const range = (i: number) =>
    `${((100 * i) / CALIBRATION_BINS).toFixed(0)} to ${((100 * (i + 1)) / CALIBRATION_BINS).toFixed(0)} %`
  const text = ({ count, confidence, accuracy }: CalibrationBin) =>
    `${count} predictions, ${(100 * confidence).toFixed(1)} % sure, ${(100 * accuracy).toFixed(1)} % right`
  const total = bins.reduce((sum, { count }) => sum + count, 0)
  const mean = bins.reduce((sum, { count, confidence, accuracy }) => sum + count * (confidence - accuracy), 0) / total
  const lean =
    Math.abs(mean) < 0.005
      ? 'as sure as it is right'
      : mean > 0
        ? 'surer than it is right'
        : 'less sure than it is right'
  return {
    id,
    title: html`Reliability: ECE ${ece.toFixed(2)} %`,
    description: `Reliability diagram in ${CALIBRATION_BINS} bins of confidence; expected calibration error ${ece.toFixed(2)} percent; on the whole ${lean}.`,
    note: `Bars: how often predictions of this confidence are right; on the dashed line it is as often as they say, below it they say too much. On the whole it is ${lean}${lean.startsWith('as') ? '' : ` (by ${(100 * Math.abs(mean)).toFixed(1)} points)`}. Below: how many predictions there are.`,
    height: 400,
    narrowHeight: 360,
    option: ({ height }) => {
      const { bottom: _, ...sides } = GRID
      const upper = { ...sides, height: height - 166 }
      const lower = { ...upper, top: height - 134, height: 88 }
      const axes = (gridIndex: number, name: string, shown: boolean) =>
        axis(name, {
          gridIndex,
          nameGap: 26,
          axisLabel: { show: shown, color: COLOUR.soft },
          splitLine: { show: false },
        })
      const bars = (values: (number | null)[], gridIndex: number, colour: number) => ({
        type: 'custom' as const,
        silent: true,
        xAxisIndex: gridIndex,
        yAxisIndex: gridIndex,
        itemStyle: { color: seriesColour(colour) },
        encode: { x: [0, 1], y: 2 },
        renderItem: column,
        data: values.map((value, i) => [i / CALIBRATION_BINS, (i + 1) / CALIBRATION_BINS, value ?? Number.NaN]),
      })
      return {
        grid: [upper, lower],
        xAxis: [
          { type: 'value', min: 0, max: 1, ...axes(0, '', false) },
          { type: 'value', min: 0, max: 1, ...axes(1, 'confidence', true) },
        ],
        yAxis: [
          { type: 'value', min: 0, max: 1, gridIndex: 0, ...axis('share that is right', { nameGap: 36 }) },
          { type: 'value', min: 0, gridIndex: 1, splitNumber: 2, minInterval: 1, ...axis('count', { nameGap: 40 }) },
        ],
        series: [
          bars(
            bins.map(({ count, accuracy }) => (count === 0 ? null : accuracy)),
            0,
            0,
          ),
          bars(
            bins.map(({ count }) => (count === 0 ? null : count)),
            1,
            7,
          ),
          line(
            [
              [0, 0],
              [1, 1],
            ],
            1,
            { xAxisIndex: 0, yAxisIndex: 0, lineStyle: { width: 1.5, type: [5, 4], color: COLOUR.ink } },
          ),
        ],
      }
    },
    tip: (_, index) => bins[index] && `confidence ${range(index)}: ${text(bins[index])}`,
    table: table(
      'Bins of confidence',
      [{ head: 'confidence' }, ...['predictions', 'mean confidence', 'right'].map((head) => ({ head, number: true }))],
      bins.map(({ count, confidence, accuracy }, i) => [
        range(i),
        count,
        count === 0 ? '' : `${(100 * confidence).toFixed(1)} %`,
        count === 0 ? '' : `${(100 * accuracy).toFixed(1)} %`,
      ]),
    ),
  }
}

/** A line of one method or run: points with their spread. */
export interface Line {
  name: string
  points: readonly { x: number; value: number; low: number; high: number }[]
}

/** Accuracy against a count, such as shots: lines with whiskers, each count as far from the next. */
export function curvePlot(id: string, title: string, xName: string, lines: readonly Line[], whiskers: string): Plot {
  const xs = [...new Set(lines.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b)
  const text = ({ value, low, high }: { value: number; low: number; high: number }) =>
    `${value.toFixed(1)} %${high > low ? ` (${low.toFixed(1)} to ${high.toFixed(1)})` : ''}`
  const label = (x: number) => (Number.isFinite(x) ? String(x) : 'all')
  const at = (points: Line['points'], x: number) => points.find((point) => point.x === x)
  return {
    id,
    title,
    description: `${title} by ${xName}: ${lines.map(({ name, points }) => `${name} ${points.map((point) => `${label(point.x)}: ${text(point)}`).join(', ')}`).join('; ')}.`,
    note: whiskers,
    legend: lines.map(({ name }) => name),
    height: 300,
    narrowHeight: 260,
    option: () => ({
      grid: GRID,
      xAxis: { type: 'category', data: xs.map(label), ...axis(xName, { nameGap: 26 }) },
      yAxis: { type: 'value', scale: true, ...axis('accuracy, %', { nameGap: 36 }) },
      series: [
        ...lines.map(({ points }, place) =>
          line(
            xs.map((x) => at(points, x)?.value ?? null),
            place,
            { symbol: SYMBOLS[place % SYMBOLS.length], symbolSize: 8, showSymbol: true },
          ),
        ),
        {
          type: 'custom' as const,
          silent: true,
          encode: { x: 0, y: [1, 2] },
          renderItem: whisker(0),
          data: lines.flatMap(({ points }, place) =>
            points.flatMap(({ x, low, high }) => (high > low ? [[xs.indexOf(x), low, high, place]] : [])),
          ),
        },
      ],
    }),
    tip: (place, index) => {
      const point = at(lines[place]?.points ?? [], xs[index] ?? Number.NaN)
      return point && `${lines[place]?.name}, ${label(point.x)} ${xName}: ${text(point)}`
    },
    table: table(
      title,
      [{ head: xName }, ...lines.map(({ name }) => ({ head: name, number: true }))],
      xs.map((x) => [
        label(x),
        ...lines.map(({ points }) => {
          const point = at(points, x)
          return point && text(point)
        }),
      ]),
    ),
  }
}

/** Running means of several runs. */
export function lossesPlot(id: string, runs: readonly { name: string; curves: Curves }[]): Plot | undefined {
  const drawn = runs
    .map(({ name, curves: { steps, loss } }) => ({ name, points: summarise(steps, loss, POINTS.narrow).points }))
    .filter(({ points }) => points.length > 0)
  if (drawn.length === 0) return undefined
  return {
    id,
    title: 'Loss, running means',
    description: `Training loss: ${drawn.map(({ name, points }) => `${name} ends at ${points.at(-1)?.smooth.toFixed(4)}`).join('; ')}.`,
    note: 'Each over its own steps, as a share of the whole run.',
    legend: drawn.map(({ name }) => name),
    height: 280,
    option: () => ({
      grid: GRID,
      xAxis: { type: 'value', min: 0, max: 100, ...axis('% of the run', { nameGap: 26 }) },
      yAxis: { type: 'value', min: 0, ...axis('loss, nats', { nameGap: 40 }) },
      series: drawn.map(({ points }, place) => {
        const end = points.at(-1)?.step ?? 1
        return line(
          points.map(({ step, smooth }) => [(100 * step) / end, smooth]),
          place,
        )
      }),
    }),
  }
}

const SYMBOLS = ['circle', 'rect', 'triangle', 'diamond']

function line(data: readonly unknown[], place: number, more: object = {}) {
  return {
    type: 'line' as const,
    silent: true,
    showSymbol: false,
    connectNulls: true,
    itemStyle: { color: seriesColour(place) },
    lineStyle: { width: 2, color: seriesColour(place), type: DASHES[place % DASHES.length] ?? 'solid' },
    data: [...data] as never[],
    ...more,
  }
}

/** One shape for the whole band, drawn with its first point: `raw` is [step, low, high]. Where both are one it is a line. */
function band(raw: readonly (readonly number[])[]): CustomSeriesRenderItem {
  return ({ dataIndex }, api) => {
    if (dataIndex > 0) return null
    const point = (step = 0, value = 0) => api.coord([step, value]).map((x) => Number(x.toFixed(1)))
    const up = raw.map(([step, , high]) => point(step, high))
    const down = raw.map(([step, low]) => point(step, low)).reverse()
    return {
      type: 'polygon',
      shape: { points: [...up, ...down] },
      style: { fill: seriesColour(0), stroke: seriesColour(0), lineWidth: 0.75, opacity: 0.28 },
    }
  }
}

/** A column from value 0 to value 1, as high as value 2. */
const column: CustomSeriesRenderItem = (_, api) => {
  if (Number.isNaN(api.value(2))) return null
  const [x0 = 0, top = 0] = api.coord([api.value(0), api.value(2)])
  const [x1 = 0, bottom = 0] = api.coord([api.value(1), 0])
  const height = Math.max(1, bottom - top)
  return {
    type: 'rect',
    shape: { x: x0 + 0.5, y: bottom - height, width: Math.max(1, x1 - x0 - 1), height },
    style: { fill: String(api.visual('color')), opacity: 0.8 },
  }
}

/** From low to high (values 1 and 2) in group 0, at the bar of series 3, with caps; `series` 0: in the middle, for lines. */
function whisker(series: number): CustomSeriesRenderItem {
  return (_, api) => {
    const [group, low, high, place] = [0, 1, 2, 3].map((i) => Number(api.value(i))) as [number, number, number, number]
    const bars = series === 0 ? undefined : api.barLayout?.({ count: series, barMaxWidth: 64, barGap: '8%' })?.[place]
    const [middle = 0, top = 0] = api.coord([group, high])
    const [, bottom = 0] = api.coord([group, low])
    const x = middle + (bars?.offsetCenter ?? 0)
    const cap = Math.min(6, (bars?.width ?? 12) / 3)
    const shape = { pathData: `M${x - cap} ${top}H${x + cap}M${x} ${top}V${bottom}M${x - cap} ${bottom}H${x + cap}` }
    const stroke = series === 0 ? seriesColour(place) : COLOUR.ink
    return { type: 'path', shape, style: { stroke, fill: 'none', lineWidth: 1.5 } }
  }
}

export type { Size }
