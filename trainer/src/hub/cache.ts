/**
 * The cache of the Hugging Face hub on this machine, in the layout that all its libraries share
 * (huggingface.co/docs/hub/local-cache): what one of them has pulled, the others find. Nothing here uses the network.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, relative } from 'node:path'
import { modelFiles } from './files.ts'

/** A repository and a branch, tag or commit of it. */
export interface HubRef {
  repo: string
  revision: string
}

const REF = /^(hub:)?([A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*)(?:@([A-Za-z0-9][\w./-]*))?$/

/** `OWNER/NAME`, `OWNER/NAME@REVISION`, either with `hub:` before it; `undefined` for all else. */
export function parseRef(text: string): HubRef | undefined {
  const [, , repo, revision = 'main'] = REF.exec(text) ?? []
  // What comes from outside becomes a path.
  return repo === undefined || /\.\.|--|\/\//.test(`${repo}@${revision}`) ? undefined : { repo, revision }
}

/** The folder of the cache: HF_HUB_CACHE, or `hub` in HF_HOME, or ~/.cache/huggingface/hub. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const home = env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface')
  return env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(home, 'hub')
}

/** Where the parts of a repository lie. */
export class RepoFolder {
  readonly path: string

  constructor(repo: string, cache: string = cacheFolder()) {
    this.path = join(cache, `models--${repo.replaceAll('/', '--')}`)
  }

  blob(etag: string): string {
    return join(this.path, 'blobs', etag)
  }

  ref(revision: string): string {
    return join(this.path, 'refs', revision)
  }

  snapshot(commit: string): string {
    return join(this.path, 'snapshots', commit)
  }

  /** The commit that was pulled for `revision`, if any. */
  commit(revision: string): string | undefined {
    if (isCommit(revision)) return existsSync(this.snapshot(revision)) ? revision : undefined
    const path = this.ref(revision)
    return existsSync(path) ? readFileSync(path, 'utf8').trim() : undefined
  }
}

export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision)
}

/** The folder of a pulled model, complete, or `undefined`. */
export function cachedModel({ repo, revision }: HubRef, cache?: string): string | undefined {
  const folder = new RepoFolder(repo, cache)
  const commit = folder.commit(revision)
  if (commit === undefined) return undefined
  const snapshot = folder.snapshot(commit)
  return modelFiles(snapshot) === undefined ? undefined : snapshot
}

/** `OWNER/NAME` (with `@COMMIT` unless it is the main branch's) of a folder in the cache, or `undefined`. */
export function nameInCache(folder: string, cache: string = cacheFolder()): string | undefined {
  const [, name, commit] = /^models--(.+?)[\\/]snapshots[\\/]([0-9a-f]{40})$/.exec(relative(cache, folder)) ?? []
  if (name === undefined || commit === undefined) return undefined
  const repo = name.replace('--', '/')
  return new RepoFolder(repo, cache).commit('main') === commit ? repo : `${repo}@${commit.slice(0, 12)}`
}

/** A model in the cache. */
export interface CachedModel {
  repo: string
  commit: string
  /** Branches and tags that pointed to the commit when it was pulled. */
  refs: string[]
  folder: string
  /** Of the model's files. */
  bytes: number
}

/** Every CLIP in the cache, by name. */
export function cachedModels(cache: string = cacheFolder()): CachedModel[] {
  const names = existsSync(cache) ? readdirSync(cache) : []
  return names
    .filter((name) => /^models--[^-].*--/.test(name))
    .sort()
    .flatMap((name) => {
      const repo = name.slice('models--'.length).replace('--', '/')
      const folder = new RepoFolder(repo, cache)
      const snapshots = join(folder.path, 'snapshots')
      return (existsSync(snapshots) ? readdirSync(snapshots) : []).flatMap((commit) => {
        const files = modelFiles(folder.snapshot(commit))
        if (files === undefined) return []
        const bytes = [files.config, ...files.weights].reduce((sum, path) => sum + statSync(path).size, 0)
        const refs = refsOf(folder).filter((revision) => folder.commit(revision) === commit)
        return [{ repo, commit, refs, folder: folder.snapshot(commit), bytes }]
      })
    })
}

function refsOf(folder: RepoFolder): string[] {
  const refs = join(folder.path, 'refs')
  if (!existsSync(refs)) return []
  const entries = readdirSync(refs, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return entries.map((entry) => relative(refs, join(entry.parentPath, entry.name))).sort()
}
