import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { anchors, brokenLinks, targets } from './links.mjs'

test('headings become the ids that GitHub gives them', () => {
  const markdown = '# The `Ops` trait: forward & backward\n## Twice\n## Twice\n```\n# not a heading\n```\n'
  assert.deepEqual(anchors(markdown), ['the-ops-trait-forward--backward', 'twice', 'twice-1'])
})

test('links are found, in text and as definitions, and not in code', () => {
  const markdown =
    '[a](b.md) ![c](d.png "title") `[x](y.md)` [e]: \n[f]: g.md\n[h](https://example.org)\n```\n[z](z.md)\n```\n'
  assert.deepEqual(targets(markdown), ['b.md', 'd.png', 'g.md'])
})

test('a missing file and a missing heading are named', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'links-'))
  t.after(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'a.md'), '# Here\n[1](b.md#there) [2](b.md#gone) [3](c.md) [4](#here) [5](#nowhere)\n')
  writeFileSync(join(folder, 'b.md'), '## There\n')
  assert.deepEqual(brokenLinks(folder, 'a.md'), [
    'a.md: b.md#gone: no such heading',
    'a.md: c.md: no such file',
    'a.md: #nowhere: no such heading',
  ])
})
