/**
 * A job: the options of one run and the tests that it is to have. Its folder is all that is known of it: a job is done when the
 * run's result and all its tests lie there, and nothing else is asked.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { TrainError } from '../errors.ts'
import { readJson, sha256, toJson, writeDurably } from '../files.ts'
import { isLocked } from '../lock.ts'
import type { TrainFlags } from '../runs/options.ts'
import { type TestFile, testPath } from '../runs/test.ts'

/** One test of a job: the test split of a data set. `data` is what `openDataset` takes, `dataset` the set's name. */
const Test = z.object({ data: z.string(), dataset: z.string(), classes: z.enum(['all', 'base', 'new']) })
export type Test = z.infer<typeof Test>

/** Options as a user would give them: those that are said, not the defaults. */
export type Options = Partial<TrainFlags>

const JobFile = z.object({ options: z.record(z.string(), z.unknown()), tests: z.array(Test), epochs: z.number() })

export interface Job {
  /** The path of its folder within the sweep's: the same for the same options, whatever else is in the grid. */
  name: string
  options: Options
  tests: Test[]
  /** Passes over the images that it will take; 0 where nothing is learned by steps. */
  epochs: number
}

/** A job in a place. */
export interface Task extends Job {
  folder: string
}

/** What its folder says of a job. `begun` has a checkpoint or may have one; `trained` lacks tests. */
export type State = 'done' | 'running' | 'trained' | 'begun' | 'failed' | 'waiting'

/** Why the last attempt ended. Only told, never asked: the next sweep tries again whatever it says. */
const Failure = z.object({ code: z.string(), message: z.string(), hint: z.string() })
export type Failure = z.infer<typeof Failure>

/** Whether nothing is left to do. */
export function isDone({ folder, tests }: Pick<Task, 'folder' | 'tests'>): boolean {
  return (
    existsSync(join(folder, 'result.json')) &&
    tests.every(({ dataset, classes }) => existsSync(`${testPath(folder, dataset, classes)}.json`))
  )
}

/** What the folder says now. */
export function stateOf(task: Pick<Task, 'folder' | 'tests'>): State {
  if (isDone(task)) return 'done'
  if (isLocked(task.folder)) return 'running'
  if (existsSync(failurePath(task.folder))) return 'failed'
  if (existsSync(join(task.folder, 'result.json'))) return 'trained'
  return existsSync(join(task.folder, 'config.json')) ? 'begun' : 'waiting'
}

/** Lays the job down in its folder, for whoever is to run it. */
export async function writeJob({ folder, options, tests, epochs }: Task): Promise<void> {
  const path = join(folder, 'job.json')
  const text = toJson({ options, tests, epochs })
  if (existsSync(path) && toJson(await readJson(path)) === text) return
  await writeDurably(path, text)
}

/**
 * The job that was laid down in a folder.
 * @throws TrainError `not_found`, `bad_data`
 */
export async function readJob(folder: string, name = folder): Promise<Task> {
  const stored = await readJson(join(folder, 'job.json'))
  if (stored === undefined) throw new TrainError('not_found', `${folder} holds no job`, 'A sweep lays them down.')
  const parsed = JobFile.safeParse(stored)
  if (!parsed.success) throw new TrainError('bad_data', `${join(folder, 'job.json')} is not a job of a sweep`)
  return { name, folder, ...parsed.data, options: parsed.data.options as Options }
}

/** The accuracy of a test that is there, percent. */
export async function readAccuracy(
  folder: string,
  { dataset, classes }: Omit<Test, 'data'>,
): Promise<number | undefined> {
  return ((await readJson(`${testPath(folder, dataset, classes)}.json`)) as TestFile | undefined)?.accuracy
}

/** Why the last attempt ended, if it ended by an error. */
export async function readFailure(folder: string): Promise<Failure | undefined> {
  return Failure.safeParse(await readJson(failurePath(folder)).catch(() => undefined)).data
}

/** Where a failed attempt says why. */
export function failurePath(folder: string): string {
  return join(folder, 'failure.json')
}

/** The folder of a job within its sweep: data set, method, shots, classes, seed, and each option that is not the default. */
export function jobName(dataset: string, { data: _, method, shots, classes, seed, ...rest }: Options): string {
  const facts = [
    method,
    ...(shots === undefined ? [] : [`${shots}shots`]),
    classes,
    ...(seed === undefined ? [] : [`seed${seed}`]),
    ...Object.entries(rest).map(([key, value]) => `${key.replaceAll('_', '')}${word(value)}`),
  ].join('-')
  return `${word(dataset, /[^\w.-]/g)}/${facts.length <= 150 ? facts : `${facts.slice(0, 140)}~${short(facts)}`}`
}

/** A value as a part of a file's name; where that hides something, with a hash of the value. */
function word(value: unknown, odd = /[^A-Za-z0-9. ]/g): string {
  const text = Array.isArray(value) && value.length === 1 ? String(value[0]) : String(value)
  const plain = text.replace(odd, '_').replaceAll(' ', '_').slice(0, 40)
  return plain === text.replaceAll(' ', '_') && plain !== '' && !plain.startsWith('.')
    ? plain
    : `${plain}~${short(text)}`
}

function short(text: string): string {
  return sha256(Buffer.from(text)).slice(0, 6)
}
