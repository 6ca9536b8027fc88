/**
 * Brings a model from the Hugging Face hub into the cache. The hub's own library asks what there is; the bytes come by
 * `download`, because the library can neither resume nor check them.
 */
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readFile, symlink } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Context } from '../command.ts'
import { codeOf, TrainError } from '../errors.ts'
import { freeBytes, writeDurably } from '../files.ts'
import { lockFolder } from '../lock.ts'
import { formatBytes, formatDuration } from '../progress.ts'
import { cachedModel, cacheFolder, type HubRef, isCommit, RepoFolder } from './cache.ts'
import { download, isTransient, reasonOf, refused, retryAfter, unavailable, type Wanted } from './download.ts'
import { CONFIGS, chooseFiles, isClipConfig } from './files.ts'

export interface Pulled {
  repo: string
  revision: string
  /** The commit that the revision stands for; null where the hub was not asked. */
  commit: string | null
  /** What `--model` takes, besides the repository's name. */
  folder: string
  files: { name: string; bytes: number; sha256: string | null }[]
  bytes: number
  /** Bytes that came over the network this time. */
  downloaded: number
  /** As the model card states it. */
  licence: string | null
}

export interface PullOptions extends Pick<Context, 'terminal' | 'signal'> {
  env?: NodeJS.ProcessEnv
  /** Of the waits between attempts. */
  baseMs?: number
}

/**
 * Pulls what `ref` names, unless it is there.
 * @throws TrainError `not_found`, `hub_refused`, `hub_unavailable`, `hash_mismatch`, `bad_model` (no CLIP), `no_space`, `locked`;
 * an AbortError when stopped, after which the same call goes on.
 */
export async function pull(ref: HubRef, options: PullOptions): Promise<Pulled> {
  const { env = process.env, signal } = options
  const cache = cacheFolder(env)
  if (isSet(env.HF_HUB_OFFLINE)) return offline(ref, cache)
  const folder = new RepoFolder(ref.repo, cache)
  const hub = await Hub.open(ref, options)
  const missing = (name: string) => !existsSync(join(folder.snapshot(hub.commit), name))
  await mkdir(folder.path, { recursive: true })
  const unlock = lockFolder(folder.path)
  try {
    const configs = hub.files.filter(({ name }) => CONFIGS.some((config) => config === name))
    const progress = new Bytes(options)
    for (const file of configs.filter(({ name }) => missing(name)))
      await fetchInto(folder, hub, file, options, progress)
    const chosen = await choose(ref, hub, folder)
    const weights = chosen.filter(({ name }) => missing(name))
    const bytes = weights.reduce((sum, file) => sum + file.bytes, 0)
    await checkSpace(cache, bytes)
    progress.expect(bytes)
    for (const file of weights) await fetchInto(folder, hub, file, options, progress)
    if (!isCommit(ref.revision)) await writeDurably(folder.ref(ref.revision), hub.commit)
    signal.throwIfAborted()
    return {
      ...ref,
      commit: hub.commit,
      folder: folder.snapshot(hub.commit),
      files: chosen.map(({ name, bytes, hash }) => ({ name, bytes, sha256: hash.kind === 'sha256' ? hash.hex : null })),
      bytes: chosen.reduce((sum, { bytes }) => sum + bytes, 0),
      downloaded: progress.downloaded,
      licence: hub.licence,
    }
  } finally {
    unlock()
  }
}

function offline(ref: HubRef, cache: string): Pulled {
  const folder = cachedModel(ref, cache)
  if (folder === undefined)
    throw new TrainError(
      'not_found',
      `${ref.repo}@${ref.revision} is not in ${cache}, and HF_HUB_OFFLINE is set`,
      'Unset HF_HUB_OFFLINE to ask the hub.',
    )
  return { ...ref, commit: null, folder, files: [], bytes: 0, downloaded: 0, licence: null }
}

/** Which files make the model, the config first. */
async function choose(ref: HubRef, hub: Hub, folder: RepoFolder): Promise<HubFile[]> {
  const names = hub.files.map(({ name }) => name)
  const config = join(folder.snapshot(hub.commit), 'config.json')
  const isClip = names.includes('config.json') && isClipConfig(await readFile(config, 'utf8'))
  const choice = chooseFiles(names, isClip)
  if (choice === undefined) {
    const message = `${ref.repo} holds no CLIP that can be opened: ${names.join(', ') || 'no files'}`
    const hint = `A CLIP has config.json and model.safetensors (or shards, or pytorch_model.bin), or open_clip_config.json and open_clip_model.safetensors.`
    throw new TrainError('bad_model', message, hint)
  }
  // How Hugging Face's models want their pixels is in a file of its own.
  const pixels = names.filter((name) => name === 'preprocessor_config.json' && choice.config === 'config.json')
  return [choice.config, ...pixels, ...choice.weights].map((name) => hub.files.find((file) => file.name === name)!)
}

async function checkSpace(cache: string, bytes: number): Promise<void> {
  const free = await freeBytes(cache)
  if (bytes > free)
    throw new TrainError(
      'no_space',
      `${formatBytes(bytes)} are to be downloaded, ${cache} has room for ${formatBytes(free)}`,
      'Free some space, or name another disk by HF_HOME.',
    )
}

/** A file into blobs/, and a link to it into the snapshot. */
async function fetchInto(
  folder: RepoFolder,
  hub: Hub,
  { name, bytes, hash }: HubFile,
  { signal, baseMs }: PullOptions,
  progress: Bytes,
): Promise<void> {
  const blob = folder.blob(hash.hex)
  const link = join(folder.snapshot(hub.commit), name)
  if (!existsSync(blob)) {
    const onBytes = progress.of(name, bytes)
    const options = { headers: hub.headers, signal, onBytes, ...(baseMs === undefined ? {} : { baseMs }) }
    await download({ url: hub.url(name), path: blob, bytes, hash }, options)
  }
  await mkdir(dirname(link), { recursive: true })
  try {
    await symlink(relative(dirname(link), blob), link)
  } catch (cause) {
    if (codeOf(cause) !== 'no_permission') throw cause
    await copyFile(blob, link) // Windows lets not everyone make links
  }
}

interface HubFile extends Pick<Wanted, 'bytes' | 'hash'> {
  name: string
}

/** What the hub says of one revision. */
class Hub {
  readonly commit: string
  readonly licence: string | null
  /** At the root of the repository. */
  readonly files: readonly HubFile[]
  readonly headers: Record<string, string>
  readonly #base: string

  private constructor(base: string, commit: string, licence: string | null, files: HubFile[], token?: string) {
    this.#base = base
    this.commit = commit
    this.licence = licence
    this.files = files
    this.headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  }

  /** Asks for the commit and its files. */
  static async open({ repo, revision }: HubRef, options: PullOptions): Promise<Hub> {
    const { env = process.env } = options
    const { listFiles, modelInfo } = await import('@huggingface/hub') // a second; only this command needs it
    const hubUrl = (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '')
    const accessToken = env.HF_TOKEN || undefined
    if (accessToken?.startsWith('hf_') === false)
      throw new TrainError('usage', 'HF_TOKEN is not a token of the hub: those begin with hf_')
    const common = { hubUrl, fetch: patient(options), ...(accessToken === undefined ? {} : { accessToken }) }
    const info = await modelInfo({ ...common, name: repo, revision, additionalFields: ['sha', 'tags'] })
    const commit = String(info.sha)
    if (!isCommit(commit)) throw new TrainError('hub_unavailable', `${hubUrl} gave no commit for ${repo}@${revision}`)
    const files: HubFile[] = []
    for await (const { type, path, size, oid, lfs } of listFiles({ ...common, repo, revision: commit })) {
      const hash =
        lfs === undefined ? { kind: 'git' as const, hex: oid ?? '' } : { kind: 'sha256' as const, hex: lfs.oid }
      // Names and hashes become paths.
      if (type !== 'file' || !/^\w[\w.-]*$/.test(path) || !/^[0-9a-f]{40,64}$/.test(hash.hex)) continue
      files.push({ name: path, bytes: lfs?.size ?? size, hash })
    }
    const tags: readonly string[] = info.tags ?? []
    const licence = tags.find((tag) => tag.startsWith('license:'))?.slice('license:'.length) ?? null
    return new Hub(`${hubUrl}/${repo}/resolve/${commit}`, commit, licence, files, accessToken)
  }

  url(name: string): string {
    return `${this.#base}/${name}`
  }
}

/** A `fetch` that tries again when the hub or the network fails, and says in our words what it refuses. */
function patient({ signal, baseMs = 500 }: PullOptions): typeof fetch {
  return async (input, init) => {
    const url = String(input).split('?')[0] ?? ''
    let why = ''
    for (let i = 0; i < 5; i++) {
      let wait = 0
      try {
        const response = await fetch(input, { ...init, signal })
        if (response.ok) return response
        await response.body?.cancel()
        if (!isTransient(response.status)) throw refused(url, response.status)
        why = `status ${response.status}`
        wait = retryAfter(response)
      } catch (cause) {
        if (signal.aborted || cause instanceof TrainError) throw cause
        why = reasonOf(cause)
      }
      if (i < 4) await sleep(Math.max(wait, baseMs * 2 ** i), undefined, { signal })
    }
    throw unavailable(url, why)
  }
}

/** The live line of a download, and what came. */
class Bytes {
  downloaded = 0
  readonly #options: PullOptions
  #total = 0
  #earlier = 0
  readonly #started = performance.now()

  constructor(options: PullOptions) {
    this.#options = options
  }

  /** `total` bytes of weights are wanted. */
  expect(total: number): void {
    this.#total = total
    this.#earlier = 0
  }

  /** Takes how much of a file is there; the first time that is what an earlier attempt left. */
  of(name: string, bytes: number): (there: number) => void {
    let last: number | undefined
    const before = this.#earlier
    return (there) => {
      if (last === undefined && there > 0) this.#options.terminal.log(`${name}: going on at ${formatBytes(there)}`)
      this.downloaded += last === undefined ? 0 : Math.max(0, there - last)
      last = there
      this.#earlier = before + there
      if (this.#total > 0) this.#options.terminal.status(this.#line(name))
      if (there === bytes) this.#options.terminal.log(`${name}: ${formatBytes(bytes)}`)
    }
  }

  #line(name: string): string {
    const rate = (1000 * this.downloaded) / (performance.now() - this.#started)
    const left = rate > 0 ? formatDuration((this.#total - this.#earlier) / rate) : '--:--'
    return `${name}  ${formatBytes(this.#earlier)} of ${formatBytes(this.#total)}  ${formatBytes(rate)}/s  ETA ${left}`
  }
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && /^(1|true|yes|on)$/i.test(value)
}
