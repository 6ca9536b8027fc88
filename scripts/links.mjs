/**
 * Checks the links between the repository's documents: every relative link and image in a .md file must name a file that
 * exists and, after #, a heading that it has. Links to other sites are not followed.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const withoutCode = (markdown) =>
  markdown
    .replaceAll(/^(```|~~~)[\s\S]*?^\1/gm, '')
    .replaceAll(/`[^`\n]*`/g, (code) => code.replaceAll(/[[\]()]/g, ' '))

/** The ids that a heading can be linked by, as GitHub makes them. */
export function anchors(markdown) {
  const seen = new Map()
  return withoutCode(markdown)
    .split('\n')
    .flatMap((text) => {
      const heading = /^#{1,6} +(.+?)(?: +#+)?$/.exec(text)?.[1]
      if (heading === undefined) return []
      const text_of_links = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      const id = text_of_links
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
        .replaceAll(/\s/g, '-')
      const count = seen.get(id) ?? 0
      seen.set(id, count + 1)
      return [count === 0 ? id : `${id}-${count}`]
    })
}

/** The targets of all links and images in a document. */
export function targets(markdown) {
  const inline = [...withoutCode(markdown).matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g)]
  const defined = [...withoutCode(markdown).matchAll(/^\[[^\]]+\]:\s+<?(\S+?)>?\s*$/gm)]
  return [...inline, ...defined].map((match) => match[1]).filter((target) => !/^[a-z][a-z+.-]*:/i.test(target))
}

/** What is wrong with the links of `file`, one sentence each. */
export function brokenLinks(root, file) {
  return targets(readFileSync(join(root, file), 'utf8')).flatMap((target) => {
    const [path, anchor] = decodeURI(target).split('#')
    const full =
      path === ''
        ? join(root, file)
        : resolve(path.startsWith('/') ? root : join(root, dirname(file)), path.replace(/^\//, ''))
    if (!existsSync(full)) return [`${file}: ${target}: no such file`]
    if (anchor === undefined || !full.endsWith('.md') || statSync(full).isDirectory()) return []
    return anchors(readFileSync(full, 'utf8')).includes(anchor) ? [] : [`${file}: ${target}: no such heading`]
  })
}

function main() {
  const root = resolve(import.meta.dirname, '..')
  const list = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
    cwd: root,
    encoding: 'utf8',
  })
  const files = list.split('\n').filter((file) => file !== '' && existsSync(join(root, file)))
  const broken = files.flatMap((file) => brokenLinks(root, file))
  for (const sentence of broken) console.error(sentence)
  console.error(`${files.length} documents, ${broken.length} broken links`)
  process.exit(broken.length === 0 ? 0 : 1)
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) main()
