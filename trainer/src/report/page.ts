/**
 * The page around a report's sections. One file that asks for nothing else: its own policy forbids every request and all but its own
 * style sheet and script, which are named by their hashes. The script only sorts tables.
 */
import { createHash } from 'node:crypto'
import { VERSION } from '../version.ts'
import { type Content, Html, html } from './html.ts'
import { SIDE } from './pictures.ts'

const LIGHT =
  '--ink:#1b1d21;--soft:#5b616b;--line:#d9dce2;--paper:#fff;--card:#f5f6f8;--c1:#2459c7;--c2:#c2410c;--c3:#0b7a55;--c4:#7c3aad;--c5:#946200;--c6:#0e7490;--c7:#be185d;--c8:#4b5563'
const DARK =
  '--ink:#e8eaee;--soft:#a3aab6;--line:#363b44;--paper:#15171b;--card:#1e2127;--c1:#7ea8ff;--c2:#ff9a6b;--c3:#4fcf9f;--c4:#c99bff;--c5:#e3b74c;--c6:#5cc8de;--c7:#ff8fc2;--c8:#aab1bc'

const STYLE = `
:root{color-scheme:light dark;${LIGHT};font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
@media (prefers-color-scheme:dark){:root{${DARK}}}
*{box-sizing:border-box}
body{max-width:54rem;margin:0 auto;padding:1rem 1rem 4rem;background:var(--paper);color:var(--ink);overflow-wrap:break-word}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.25rem;margin:2rem 0 .5rem;padding-top:.75rem;border-top:1px solid var(--line)}
h3{font-size:1.05rem;margin:1.75rem 0 .5rem}
h4{font-size:.95rem;font-weight:600;margin:1rem 0 .25rem}
a{color:var(--c1)}
p{margin:.5rem 0}
code,pre{font:.85em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--card);padding:.75rem;border-radius:.4rem;white-space:pre-wrap;overflow-wrap:anywhere;margin:.5rem 0}
.note,caption,.lead{color:var(--soft)}
.note{font-size:.85rem}
.warning{border-left:4px solid var(--c2);background:var(--card);padding:.5rem .75rem}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;list-style:none;padding:0;margin:.75rem 0}
.plot{margin:1.25rem 0}
figcaption{font-weight:600}
.plot svg{display:block;width:100%;height:auto}
.plot svg.narrow{display:none}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;list-style:none;padding:0;margin:.25rem 0;font-size:.85rem}
.legend svg{display:inline;width:28px;height:10px}
@media (max-width:600px){.plot svg.wide{display:none}.plot svg.narrow{display:block;max-width:30rem}h1{font-size:1.35rem}}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:1rem 0;padding:0;list-style:none}
.cards li{background:var(--card);border-radius:.5rem;padding:.75rem}
.cards b{display:block;font-size:1.6rem;line-height:1.2;font-variant-numeric:tabular-nums}
.cards small{color:var(--soft);display:block}
.scroll{overflow:auto;max-width:100%;margin:.5rem 0}
.tall{max-height:min(80vh,44rem)}
table{border-collapse:collapse;font-size:.9rem}
caption{text-align:left;font-size:.85rem;padding-bottom:.25rem}
th,td{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top;font-weight:400}
tbody th{min-width:6.5rem}
thead th{font-weight:600;background:var(--paper);position:sticky;top:0}
th.number,td.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th button{font:inherit;font-weight:600;color:inherit;background:none;border:0;padding:0;cursor:pointer;text-decoration:underline dotted}
th[aria-sort=ascending] button:after{content:" \\2191"}
th[aria-sort=descending] button:after{content:" \\2193"}
.matrix{display:block}
.matrix g[data-cell]:hover rect{stroke:var(--ink)}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(6.5rem,1fr));gap:.75rem;margin:.5rem 0;padding:0;list-style:none;font-size:.8rem;line-height:1.35}
.pictures img{display:block;width:${SIDE}px;height:${SIDE}px;border-radius:.3rem;background:var(--card);margin-bottom:.25rem}
.pictures .wrong img{outline:2px solid var(--c2)}
.path{color:var(--soft);overflow-wrap:anywhere}
summary{cursor:pointer;font-size:.9rem;color:var(--soft)}
details{margin:.5rem 0}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.1rem 1rem;margin:.5rem 0;font-size:.9rem}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
@media print{:root{color-scheme:light;${LIGHT};font-size:11px}body{max-width:none;padding:0}nav{display:none}.scroll,.tall{overflow:visible;max-height:none}figure,tr,.pictures li,.cards{break-inside:avoid}h2,h3{break-after:avoid}.matrix{max-width:100%;height:auto}}
`

const SCRIPT = `
for (const table of document.querySelectorAll('table.sortable')) {
  for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
    const button = document.createElement('button')
    button.type = 'button'
    button.append(...head.childNodes)
    head.append(button)
    button.addEventListener('click', () => {
      const up = head.getAttribute('aria-sort') !== 'ascending'
      for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort')
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending')
      const value = (row) => row.cells[column].textContent
      const number = (row) => { const n = parseFloat(value(row)); return Number.isNaN(n) ? -Infinity : n }
      const compare = head.classList.contains('number') ? (a, b) => number(a) - number(b) : (a, b) => value(a).localeCompare(value(b))
      const rows = [...table.tBodies[0].rows].sort(compare)
      table.tBodies[0].append(...(up ? rows : rows.reverse()))
    })
  }
}
`

/** The whole document. */
export function page(title: string, body: Content): string {
  const policy = `default-src 'none'; img-src data:; style-src '${hash(STYLE)}'; script-src '${hash(SCRIPT)}'; base-uri 'none'; form-action 'none'`
  return `<!doctype html>\n${
    html`<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${new Html(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="cocoop-train ${VERSION}">
<title>${title}</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
${body}
<script>${new Html(SCRIPT)}</script>
</body>
</html>
`.text
  }`
}

function hash(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}
