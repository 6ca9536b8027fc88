/** `models inspect`: what a model's files hold, without loading them; also of one that cannot be used, and why. */
import { nativeEngine } from 'cocoop/node'
import type { Context } from '../command.ts'
import { EXIT } from '../errors.ts'
import { locateModel } from '../models.ts'

/** Names that are printed of a long list; --json has them all. */
const SHOWN = 8

export async function inspectModel(target: string, { print, exit }: Context) {
  const found = await locateModel(target)
  const report = await (await nativeEngine()).inspectModel(found)
  const { format, names, tensors, dtypes, sha256, parameters, image_tower, text_tower, problem } = report
  const values = Object.entries(dtypes).map(([dtype, count]) => `${count.toLocaleString('en')} ${dtype}`)
  print(`${found.id}: ${found.paths.join(', ')}`)
  print(`format      ${format}, ${names} names, ${tensors} tensors, ${values.join(', ')}`)
  print(`sha256      ${sha256}`)
  if (parameters !== undefined) print(`parameters  ${parameters.toLocaleString('en')}`)
  const towers = [image_tower === true ? 'image' : '', text_tower === true ? 'text' : ''].filter(
    (tower) => tower !== '',
  )
  if (towers.length > 0) print(`towers      ${towers.join(', ')}`)
  if (report.config !== undefined) print(`config      ${JSON.stringify(report.config)}`)
  print(listed('missing', report.missing))
  print(listed('unexpected', report.unexpected))
  if (problem !== null) {
    print(`problem     ${problem.code}: ${problem.message}`)
    exit(EXIT.incompatible)
  }
  return { id: found.id, files: found.paths, ...report }
}

function listed(what: string, names: readonly string[] = []): string {
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : ''
  return `${what.padEnd(12)}${names.length === 0 ? 'none' : `${names.slice(0, SHOWN).join(', ')}${more}`}`
}
