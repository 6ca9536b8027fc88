/** The logs that a run's options ask for. */
import type { RunFolder } from '../runs/folder.ts'
import type { TrainOptions } from '../runs/options.ts'
import type { Terminal } from '../terminal.ts'
import { Board } from './board.ts'
import { DasslLog } from './dassl.ts'
import { PlainLog } from './plain.ts'
import { type RunLog, several } from './run-log.ts'

export function openLog(options: TrainOptions, run: RunFolder, terminal: Terminal): RunLog {
  const lines = options.log_style === 'dassl' ? new DasslLog(options, terminal) : new PlainLog(run, terminal)
  return several(options.tensorboard ? [lines, new Board(run.file('tensorboard'))] : [lines])
}
