/**
 * A plot as SVG in the page, drawn by ECharts: once wide and once for a phone, of which the style sheet shows one. Colours are the
 * page's variables, so it follows light, dark and paper; what a mark stands for is its title, shown without a script.
 */
import type { EChartsOption } from 'echarts'
import { type Content, details, escaped, Html, html } from './html.ts'

/** Colours of the page, with what is taken where its style sheet is refused. */
export const COLOUR = { ink: 'var(--ink,#1b1d21)', soft: 'var(--soft,#5b616b)', line: 'var(--line,#d9dce2)' }

/** How many colours there are for series. */
export const SERIES_COLOURS = 8
const FALLBACK = ['#2459c7', '#c2410c', '#0b7a55', '#7c3aad', '#946200', '#0e7490', '#be185d', '#4b5563']

/** The colour of a series, counted from 0. */
export function seriesColour(series: number): string {
  const place = series % SERIES_COLOURS
  return `var(--c${place + 1},${FALLBACK[place]})`
}

/** Dashes tell series apart where colours do not. */
export const DASHES: readonly (number[] | 'solid')[] = ['solid', [7, 4], [2, 3], [9, 3, 2, 3]]

export interface Size {
  width: number
  height: number
  /** For a phone. */
  narrow: boolean
}

export interface Plot {
  /** Of one page, each another. */
  id: string
  title: Content
  /** What is to be seen, in a sentence, for those who do not see it. */
  description: string
  /** Below the plot. */
  note?: Content
  /** Names of the series in the order of their colours; none for a single one. */
  legend?: readonly string[]
  /** Height of the wide one; the narrow one is as high unless said. */
  height: number
  narrowHeight?: number
  option: (size: Size) => EChartsOption
  /** What the mark `index` of the series `series` stands for. */
  tip?: (series: number, index: number) => string | undefined
  /** The numbers. */
  table?: Html
}

const [WIDE, NARROW] = [720, 340]

type ECharts = typeof import('echarts')
let loaded: Promise<ECharts> | undefined

/** Draws a plot. */
export async function figure(plot: Plot): Promise<Html> {
  loaded ??= import('echarts/dist/echarts.esm.min.mjs')
  const echarts = await loaded
  const wide = { width: WIDE, height: plot.height, narrow: false }
  const narrow = { width: NARROW, height: plot.narrowHeight ?? plot.height, narrow: true }
  return html`<figure id="${plot.id}" class="plot"><figcaption>${plot.title}</figcaption>
${plot.legend && legend(plot.legend)}
${draw(echarts, plot, wide)}
${draw(echarts, plot, narrow)}
${plot.note && html`<p class="note">${plot.note}</p>`}
${plot.table && details('The numbers', plot.table)}</figure>`
}

/** A series' name behind a line in its colour and dashes. */
function legend(names: readonly string[]): Html {
  const entry = (name: string, i: number) => {
    const dash = DASHES[i % DASHES.length]
    const dashes = Array.isArray(dash) ? new Html(` stroke-dasharray="${dash.join(' ')}"`) : ''
    return html`<li><svg width="28" height="10" aria-hidden="true"><path d="M0 5H28" stroke="${seriesColour(i)}" stroke-width="3"${dashes}></path></svg> ${name}</li>`
  }
  return html`<ul class="legend">${names.map(entry)}</ul>`
}

function draw(echarts: ECharts, { id, description, option, tip }: Plot, size: Size): Html {
  const { width, height, narrow } = size
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height })
  try {
    chart.setOption({ animation: false, textStyle: { fontFamily: 'inherit', color: COLOUR.ink }, ...option(size) })
    const name = `${id}${narrow ? '-narrow' : ''}`
    const svg = clean(chart.renderToSVGString({ useViewBox: true }), name, tip)
    const start = `<svg class="${narrow ? 'narrow' : 'wide'}" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="${name}-t"${narrow ? ' display="none"' : ''}><title id="${name}-t">${escaped(description)}</title>`
    return new Html(svg.replace(/^<svg[^>]*>/, start))
  } finally {
    chart.dispose()
  }
}

/** Without what only a script or a style attribute would use; marks say which they are, and what they stand for. */
function clean(svg: string, name: string, tip: Plot['tip']): string {
  return svg
    .replace(/<style[\s\S]*?<\/style>/g, '')
    .replace(/<rect [^>]*fill="none"[^>]*><\/rect>\n?/, '')
    .replace(
      / (class="[^"]*"|pointer-events="[^"]*"|ecmeta_ssr_type="[^"]*"|ecmeta_silent="[^"]*"|xml:space="[^"]*")/g,
      '',
    )
    .replace(/ style="([^"]*)"/g, (_, style: string) => attributes(style))
    .replace(/(id="|url\(#)zr\d+-/g, `$1${name}-`)
    .replace(
      /<path ([^>]*?) ecmeta_series_index="(\d+)" ecmeta_data_index="(\d+)"([^>]*)><\/path>/g,
      (_, before: string, series: string, index: string, after: string) => {
        const text = tip?.(Number(series), Number(index))
        const title = text === undefined ? '' : `<title>${escaped(text)}</title>`
        return `<path ${before} data-mark="${series}"${after}>${title}</path>`
      },
    )
    .replace(/ ecmeta_[a-z_]+="[^"]*"/g, '')
    .replace(/\n+/g, '\n')
}

/** `font-size:12px;` as ` font-size="12px"`: a page's policy may forbid style attributes, which these are not. */
function attributes(style: string): string {
  const entries = style.split(';').map((entry) => entry.split(':'))
  return entries
    .filter(([key, value]) => key && value && value !== 'inherit')
    .map(([key, value]) => ` ${key}="${value}"`)
    .join('')
}

/** An axis in the page's colours. */
export function axis(name: string, more: object = {}): object {
  const label = { color: COLOUR.soft, fontSize: 12 }
  return {
    name,
    nameLocation: 'middle',
    nameTextStyle: { color: COLOUR.soft, fontSize: 12 },
    axisLabel: label,
    axisLine: { show: true, lineStyle: { color: COLOUR.soft } },
    axisTick: { lineStyle: { color: COLOUR.soft } },
    splitLine: { lineStyle: { color: COLOUR.line } },
    ...more,
  }
}
