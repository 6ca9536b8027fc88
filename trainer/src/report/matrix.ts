/** A confusion matrix as SVG: rows are the true classes. Only cells that hold something are drawn; each says what it is. */
import type { Confusion } from './confusion.ts'
import { type Html, html } from './html.ts'
import { COLOUR, seriesColour } from './plot.ts'

/** Longest label, in letters. */
const LABEL = 22

/** Side of a cell by the number of classes: numbers fit in the large ones, names beside all. */
function sideOf(n: number): number {
  if (n <= 12) return 40
  if (n <= 25) return 26
  return n <= 60 ? 15 : 11
}

/**
 * The matrix of `classes` in their order.
 * @param names of all classes
 */
export function matrix(id: string, confusion: Confusion, classes: readonly number[], names: readonly string[]): Html {
  const side = sideOf(classes.length)
  const font = Math.min(12, side - 1)
  const label = (of: number) => {
    const name = names[of] ?? ''
    return name.length > LABEL ? `${name.slice(0, LABEL - 1)}…` : name
  }
  const longest = Math.max(...classes.map((of) => label(of).length), 4)
  const margin = Math.ceil(longest * font * 0.56) + 14
  const [width, height] = [margin + classes.length * side + 8, margin + classes.length * side + 8]
  const numbers = side >= 26
  const cells: Html[] = []
  for (const [row, truth] of classes.entries()) {
    const total = confusion.totals[truth] ?? 0
    for (const [column, guess] of classes.entries()) {
      const count = confusion.count(truth, guess)
      if (count === 0) continue
      const share = count / total
      const [x, y] = [margin + column * side, margin + row * side]
      // Where numbers stand in the cells they must stay readable in light and dark.
      const opacity = (0.12 + share ** 0.6 * (numbers ? 0.43 : 0.88)).toFixed(2)
      const title = `${names[truth]}${truth === guess ? ', right' : ` taken for ${names[guess]}`}: ${count} of ${total} (${(100 * share).toFixed(0)} %)`
      cells.push(html`<g data-cell=""><title>${title}</title><rect x="${x}" y="${y}" width="${side - 1}" height="${side - 1}" fill="${seriesColour(truth === guess ? 0 : 1)}" fill-opacity="${opacity}"></rect>${numbers && html`<text x="${x + (side - 1) / 2}" y="${y + side / 2 + 4}" text-anchor="middle" font-size="${side >= 40 ? 12 : 10}" fill="${COLOUR.ink}">${count}</text>`}</g>
`)
    }
  }
  const rows = classes.map(
    (of, i) =>
      html`<text x="${margin - 6}" y="${margin + i * side + side / 2 + font / 3}" text-anchor="end">${label(of)}</text>`,
  )
  const columns = classes.map(
    (of, i) =>
      html`<text transform="translate(${margin + i * side + side / 2 + font / 3} ${margin - 6}) rotate(-90)">${label(of)}</text>`,
  )
  const right = classes.reduce((sum, of) => sum + confusion.count(of, of), 0)
  const inside = cells.length
  const description = `Confusion matrix of ${classes.length} classes, true classes in rows, predicted ones in columns; ${right} images on the diagonal, ${inside} cells are not empty.`
  return html`<div class="scroll tall" tabindex="0" role="region" aria-label="Confusion matrix"><svg class="matrix" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="${id}-t"><title id="${id}-t">${description}</title>
<rect x="${margin - 1}" y="${margin - 1}" width="${classes.length * side + 1}" height="${classes.length * side + 1}" fill="none" stroke="${COLOUR.line}"></rect>
<g font-size="${font}" fill="${COLOUR.ink}">${rows}${columns}</g>
${cells}</svg></div>`
}
