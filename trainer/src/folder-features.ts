/** The features of a folder's images, kept from one command to the next: only files that are new or were changed are encoded. */
import type { EngineModel } from 'cocoop/node'
import { z } from 'zod'
import type { Context } from './command.ts'
import type { FeatureCache } from './feature-cache.ts'
import { embedEach } from './images.ts'
import { type LeftOut, leaveOut } from './left-out.ts'
import type { ListedImage } from './listing.ts'

/** What stands beside the kept rows: which image each is of. */
const Note = z.array(z.tuple([z.string(), z.string()])) // id, stamp

/** Images that can be searched: `features` (n, embed_dim). */
export interface FolderFeatures {
  paths: string[]
  features: Float32Array
  left_out: LeftOut[]
  /** How many were encoded now. */
  encoded: number
}

/**
 * The features of `listed`, kept under `name`. What was encoded before an interruption is kept, too.
 * @throws CocoopError `cancelled`
 */
export async function folderFeatures(
  { model, cache }: { model: EngineModel; cache: FeatureCache },
  name: string,
  listed: readonly ListedImage[],
  { terminal, signal }: Pick<Context, 'terminal' | 'signal'>,
): Promise<FolderFeatures> {
  const width = model.info.embed_dim
  const key = { folder: name }
  const known = await readKnown(cache, key, width)
  const rows = new Map<string, { stamp: string; row: Float32Array }>()
  const fresh: (ListedImage & { stampNow: string })[] = []
  for (const image of listed) {
    const stampNow = await image.stamp().catch(() => '') // it is gone: reading it says so
    const row = known.get(`${stampNow} ${image.id}`)
    if (row === undefined) fresh.push({ ...image, stampNow })
    else rows.set(image.id, { stamp: stampNow, row })
  }
  const left_out: LeftOut[] = []
  try {
    for await (const batch of embedEach(model, fresh, signal)) {
      const { good, features, bad } = leaveOut(batch, width, terminal)
      for (const [i, { id, stampNow }] of good.entries()) {
        rows.set(id, { stamp: stampNow, row: features.subarray(i * width, (i + 1) * width) })
      }
      left_out.push(...bad)
      terminal.status(`encoding images ${batch.start + batch.items.length}/${fresh.length}`)
    }
  } finally {
    if (rows.size > known.size || fresh.length > 0) await keep()
  }
  const found = listed.flatMap(({ path, id }) => {
    const entry = rows.get(id)
    return entry === undefined ? [] : [{ path, row: entry.row }]
  })
  return {
    paths: found.map(({ path }) => path),
    features: joined(
      found.map(({ row }) => row),
      width,
    ),
    left_out,
    encoded: fresh.length - left_out.length,
  }

  async function keep(): Promise<void> {
    const entries = [...rows]
    await cache.put(key, {
      note: entries.map(([id, { stamp }]) => [id, stamp]),
      features: joined(
        entries.map(([, { row }]) => row),
        width,
      ),
    })
  }
}

/** Kept rows by stamp and id. */
async function readKnown(cache: FeatureCache, key: unknown, width: number): Promise<Map<string, Float32Array>> {
  const entry = await cache.get(key)
  const note = Note.safeParse(entry?.note)
  if (entry === undefined || !note.success || entry.features.length !== note.data.length * width) return new Map()
  return new Map(
    note.data.map(([id, stamp], i) => [`${stamp} ${id}`, entry.features.subarray(i * width, (i + 1) * width)]),
  )
}

function joined(rows: readonly Float32Array[], width: number): Float32Array {
  const all = new Float32Array(rows.length * width)
  for (const [i, row] of rows.entries()) all.set(row, i * width)
  return all
}
