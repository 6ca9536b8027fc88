/** `models pull`: a model of the Hugging Face hub, into the cache of this machine. */
import type { Context } from '../command.ts'
import { codeOf, TrainError } from '../errors.ts'
import { parseRef } from '../hub/cache.ts'
import { pull } from '../hub/pull.ts'
import { formatBytes } from '../progress.ts'

export async function pullModel(target: string | undefined, context: Context) {
  const ref = target === undefined ? undefined : parseRef(target)
  if (ref === undefined)
    throw new TrainError(
      'usage',
      `models pull: expected OWNER/NAME or OWNER/NAME@REVISION, got ${target ?? 'nothing'}`,
      '`cocoop-train models list` names published models.',
    )
  try {
    const pulled = await pull(ref, context)
    const revision = ref.revision === 'main' ? '' : `@${ref.revision}`
    context.print(`${ref.repo}${revision} in ${pulled.folder}`)
    if (pulled.downloaded > 0) context.print(`downloaded ${formatBytes(pulled.downloaded)}, every byte checked`)
    if (pulled.licence !== null) context.print(`licence ${pulled.licence}`)
    context.print(`use it by --model ${ref.repo}${revision}`)
    return pulled
  } catch (cause) {
    if (codeOf(cause) !== 'cancelled') throw cause
    throw new TrainError(
      'cancelled',
      'stopped; what has come stays',
      `\`cocoop-train models pull ${target}\` goes on from there.`,
      { cause },
    )
  }
}
