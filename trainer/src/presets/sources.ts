/**
 * Where a run's options come from besides flags, environment and files of this project: a preset and the originals' files go below
 * those, the originals' overrides (`--set`) above, as on their command line.
 */
import type { Sources } from '../command.ts'
import type { Options } from './dassl.ts'
import { readOriginals } from './originals.ts'
import { preset } from './table.ts'

export const sources: Sources = (asked, files, sets) => {
  const named: Options = typeof asked.preset === 'string' ? preset(asked.preset) : {}
  const method = typeof asked.method === 'string' ? asked.method : undefined
  const { below: said, above, notes } = readOriginals(files, sets, { method, fallback: named.method })
  // The original's N_CTX without words is a number of random tokens.
  const random: Options = above.n_ctx !== undefined && above.ctx_init === undefined ? { ctx_init: '' } : {}
  const below = { ...random, ...withoutCount(named, said.ctx_init), ...said }
  return { below: withoutCount(below, asked.ctx_init), above, notes }
}

/** Words have as many tokens as they have: a number that came with what is below them says nothing of them. */
function withoutCount({ n_ctx, ...rest }: Options, words: unknown): Options {
  return words || n_ctx === undefined ? rest : { n_ctx, ...rest }
}
