/** A rank above 0: it computes its share of each batch, and writes no file. */

import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf, nativeEngine } from 'cocoop/node'
import type { Context } from '../command.ts'
import type { Dataset } from '../datasets/dataset.ts'
import { openDataset } from '../datasets/open.ts'
import { codeOf, TrainError } from '../errors.ts'
import { readAll } from '../images.ts'
import { openModel } from '../models.ts'
import { dataFacts } from '../runs/config.ts'
import { requireData, resolve, type TrainFlags, type TrainOptions, trainSpec } from '../runs/options.ts'
import { finishedRun } from '../runs/result.ts'
import { selectShots } from '../select.ts'
import { Terminal } from '../terminal.ts'
import { VERSION } from '../version.ts'
import { Channel, packed, stop, unpacked } from './channel.ts'
import { claimOf, needsLearning } from './claim.ts'
import type { Place } from './place.ts'

/** Rank 0 may be reading its model yet. */
const RETRY_MS = 200

/**
 * Trains along with rank 0 until all epochs are done.
 * @throws TrainError `rank_lost` if rank 0 is not there or goes away; the word for which it stopped; `cancelled`
 */
export async function follow(flags: TrainFlags, context: Context, place: Place): Promise<void> {
  const { signal } = context
  if (flags.resume && flags.out !== undefined && (await finishedRun(flags.out)) !== undefined) return
  if (!flags.resume) needsLearning(flags.method) // rank 0 may have ended for it already
  const socket = await dial(place, signal)
  const channel = new Channel(socket, `rank 0 at ${place.host}:${place.port}`, place.patience)
  try {
    channel.send({ kind: 'hello', version: VERSION, rank: place.rank, world: place.world })
    await train(flags, context, place, channel)
    await channel.end()
  } catch (cause) {
    if (channel.ended.aborted) throw channel.ended.reason // what rank 0 said, or that it is lost
    const code = codeOf(cause)
    const message = code === 'cancelled' ? 'it was stopped' : messageOf(cause)
    await channel.end(stop(code, message))
    if (code !== 'cancelled') throw cause
    throw new TrainError(code, `rank ${place.rank} was stopped`, 'Start all ranks again, with --resume.', { cause })
  }
}

async function train(flags: TrainFlags, context: Context, place: Place, channel: Channel): Promise<void> {
  const terminal = new Terminal(process.stderr, true)
  const signal = AbortSignal.any([context.signal, channel.ended])
  const engine = await nativeEngine()
  let dataset: Dataset
  let options: TrainOptions
  if (flags.resume) {
    const welcome = await channel.next(['welcome', 'done'], signal)
    if (welcome.head.kind === 'done') return
    options = welcome.head.options as TrainOptions
    dataset = await openDataset(options.data, { root: flags.root ?? options.root, terminal })
  } else {
    dataset = await openDataset(requireData(flags), { root: flags.root, terminal })
    options = resolve(flags, dataset.name, (text) => engine.tokenize(text).length)
  }
  needsLearning(options.method)
  const opened = await openModel(engine, options.model, { signal })
  using model = opened.model
  const shots = await selectShots(dataset, options)
  const data = await readAll(model, shots, { terminal, signal, skipBad: options.skip_bad })
  const spec = trainSpec(options, data.classnames)
  const trainer = await model.trainer(spec, data.images, Uint32Array.from(data.labels), { signal })
  if (!flags.resume && (await channel.next(['welcome', 'done'], signal)).head.kind === 'done') return
  const claim = claimOf(options, data.classnames, {
    data: dataFacts(dataset.name, data),
    model: { id: opened.id, sha256: model.info.sha256 },
  })
  channel.send({ kind: 'ready', claim })
  trainer.restore((await channel.next(['start'], signal)).body)
  while (trainer.position.epoch < trainer.plan.epochs) {
    const part = await trainer.part(place.rank, place.world, { signal })
    channel.send({ kind: 'part', correct: part.correct }, packed(part))
    const sum = await channel.next(['sum'], signal)
    await trainer.apply({ ...unpacked(sum, part.gradient.length), correct: Number(sum.head.correct) })
  }
}

/** Connects to rank 0, which may come later. */
async function dial({ host, port, patience }: Place, signal: AbortSignal): Promise<Socket> {
  const started = performance.now()
  for (;;) {
    try {
      return await new Promise<Socket>((done, failed) => {
        const socket = connect(port, host)
        socket.once('connect', () => {
          socket.off('error', failed)
          done(socket)
        })
        socket.once('error', failed)
      })
    } catch (cause) {
      if (performance.now() - started > patience) {
        throw new TrainError(
          'rank_lost',
          `rank 0 does not answer at ${host}:${port} within ${patience / 1000} s: ${messageOf(cause)}`,
          'Is it started, and are MASTER_ADDR and COCOOP_MASTER_PORT the same on all ranks?',
          { cause },
        )
      }
      await sleep(RETRY_MS, undefined, { signal })
    }
  }
}
