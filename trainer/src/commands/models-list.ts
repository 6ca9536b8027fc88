/** `models list`: the models that `--model` opens on this machine, and published ones that `models pull` brings. */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Context } from '../command.ts'
import { cachedModels, cacheFolder } from '../hub/cache.ts'
import { modelFiles } from '../hub/files.ts'
import { KNOWN } from '../hub/known.ts'
import { MODEL_FOLDERS } from '../models.ts'
import { formatBytes } from '../progress.ts'
import { table } from '../table.ts'

/** A model on this machine; `name` is what --model takes. */
interface Here {
  name: string
  source: 'folder' | 'hub'
  folder: string
  bytes: number
}

export async function listModels({ print }: Context) {
  const cached = cachedModels().map(({ repo, commit, refs, folder, bytes }): Here => {
    const revision = refs.includes('main') ? '' : `@${refs[0] ?? commit}`
    return { name: `${repo}${revision}`, source: 'hub', folder, bytes }
  })
  const here = [...folders(), ...cached]
  print(
    table(
      ['model', 'from', 'size', 'where'],
      here.map(({ name, source, bytes, folder }) => [name, source, formatBytes(bytes), folder]),
    ),
  )
  const others = KNOWN.filter(({ repo }) => !cached.some(({ name }) => name === repo))
  print(`\npublished, for \`cocoop-train models pull\` (${cacheFolder()}):`)
  print(
    table(
      ['repository', 'architecture', 'parameters', 'trained on', 'licence'],
      others.map((known) => [known.repo, known.architecture, `${known.parameters} M`, known.trained_on, known.licence]),
    ),
  )
  return { models: here, published: others, cache: cacheFolder() }
}

/** The models in models/, here and beside this package. */
function folders(): Here[] {
  const found = MODEL_FOLDERS.filter((place) => existsSync(place)).flatMap((place) =>
    readdirSync(place).map((name) => ({ name, folder: join(place, name) })),
  )
  const seen = new Set<string>()
  return found.flatMap(({ name, folder }) => {
    const files = statSync(folder).isDirectory() && !seen.has(name) ? modelFiles(folder) : undefined
    if (files === undefined) return []
    seen.add(name)
    const bytes = [files.config, ...files.weights].reduce((sum, path) => sum + statSync(path).size, 0)
    return [{ name, source: 'folder' as const, folder, bytes }]
  })
}
