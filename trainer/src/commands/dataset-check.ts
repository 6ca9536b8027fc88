/** `dataset check`: what is missing of the papers' sets below the root, and where it comes from. */
import type { Context } from '../command.ts'
import { kindOf } from '../datasets/disk.ts'
import { checkPaper, type PaperCheck } from '../datasets/papers/check.ts'
import { findPaper, PAPERS } from '../datasets/papers/table.ts'
import { EXIT, TrainError } from '../errors.ts'
import { nearest } from '../flags.ts'

export async function check(
  target: string | undefined,
  { root }: { root?: string | undefined },
  { print, terminal, exit }: Context,
): Promise<unknown> {
  if (root === undefined)
    throw new TrainError(
      'usage',
      'dataset check: --root is missing',
      'It is the folder that holds imagenet/, caltech-101/ and so on.',
    )
  if (!(await kindOf(root, 'isDirectory'))) throw new TrainError('not_found', `--root: there is no folder ${root}`)
  const checks: PaperCheck[] = []
  for (const paper of target === undefined ? PAPERS : [named(target)]) {
    terminal.status(`checking ${paper.name}`)
    checks.push(await checkPaper(paper, root))
  }
  terminal.clear()
  for (const one of checks) print(lines(one).join('\n'))
  const absent = checks.filter(({ state }) => state === 'absent')
  if (checks.some(({ state }) => state === 'incomplete')) exit(EXIT.data)
  else if (absent.length === checks.length) exit(EXIT.notFound)
  return { root, data_sets: checks }
}

function named(target: string) {
  const paper = findPaper(target)
  if (paper !== undefined) return paper
  const names = PAPERS.map(({ name }) => name)
  const near = nearest(target, names)
  const hint = `${near === undefined ? '' : `Did you mean ${near}? `}They are ${names.join(', ')}. \`dataset show\` looks into any set.`
  throw new TrainError('not_found', `${target} is no data set of the papers`, hint)
}

function lines({ name, state, folder, counts, findings }: PaperCheck): string[] {
  const found =
    counts === undefined
      ? ''
      : `: ${counts.n_cls} classes, ${counts.train} train, ${counts.val} val, ${counts.test} test`
  const head = state === 'whole' ? `${name} is whole${found}` : `${name} is ${state}, expected in ${folder}${found}`
  return [
    head,
    ...findings.flatMap(({ message, hint }) => [`  ${message}`, ...(hint === undefined ? [] : [`    ${hint}`])]),
  ]
}
