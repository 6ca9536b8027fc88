/** HTML that is put together safely: everything that is filled in is escaped, unless it is HTML itself. */

/** Text that is HTML already. */
export class Html {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

export type Content = Html | string | number | null | undefined | false | readonly Content[]

/** A template whose values are escaped; lists are joined, and what is absent or false is left out. */
export function html(parts: TemplateStringsArray, ...values: Content[]): Html {
  return new Html(parts.map((part, i) => part + (i < values.length ? fill(values[i]) : '')).join(''))
}

function fill(value: Content): string {
  if (value === null || value === undefined || value === false) return ''
  if (value instanceof Html) return value.text
  return Array.isArray(value) ? value.map(fill).join('') : escaped(String(value))
}

/** Text as it stands between tags and in quoted attributes. What no document may hold is shown as a replacement sign. */
export function escaped(text: string): string {
  return (
    text
      .toWellFormed()
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\ufffe\uffff]/g, '\ufffd')
      .replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`)
  )
}

/** A column of a table: its head, and whether its cells are numbers. */
export interface Column {
  head: string
  number?: boolean
}

/**
 * A table that scrolls in its own box where it is too wide.
 * @param caption says what it lists, also to those who do not see it
 */
export function table(
  caption: string,
  columns: readonly Column[],
  rows: readonly (readonly Content[])[],
  { sortable = false, tall = false }: { sortable?: boolean; tall?: boolean } = {},
): Html {
  const cell = (content: Content, i: number) =>
    i === 0
      ? html`<th scope="row">${content}</th>`
      : html`<td${columns[i]?.number && new Html(' class="number"')}>${content}</td>`
  const head = columns.map(
    ({ head, number }) => html`<th scope="col"${number && new Html(' class="number"')}>${head}</th>`,
  )
  return html`<div class="scroll${tall && ' tall'}" tabindex="0" role="region" aria-label="${caption}"><table${sortable && new Html(' class="sortable"')}><caption>${caption}</caption><thead><tr>${head}</tr></thead><tbody>
${rows.map((row) => html`<tr>${row.map(cell)}</tr>\n`)}</tbody></table></div>`
}

/** What is folded away until it is asked for. */
export function details(summary: Content, content: Content, open = false): Html {
  return html`<details${open && new Html(' open')}><summary>${summary}</summary>${content}</details>`
}
