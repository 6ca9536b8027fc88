/** `cocoop-train report`: one HTML file about a run, several runs, or a sweep. */
import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { formatBytes } from '../progress.ts'
import { writeReport } from '../report/report.ts'

export const report = defineCommand({
  name: 'report',
  summary: 'One HTML file about a run, a sweep, or several runs side by side',
  details:
    'One run: how it learned, accuracy with confidence intervals, confusion matrix, reliability, worst mistakes with their pictures. Several, or a folder of them: tables and curves over seeds, shots, data sets and methods. The file needs nothing else, no network and no script.',
  flags: z.object({
    runs: z
      .array(z.string())
      .min(1)
      .meta({ description: "Runs' folders, or a folder with runs below it", value: 'RUN|SWEEP...', positional: true }),
    out: z.string().optional().meta({
      description: 'The file (default report.html in the one folder that is named, else here)',
      value: 'FILE',
      short: 'o',
    }),
  }),
  examples: [
    'cocoop-train report runs/mine',
    'cocoop-train report runs/coop runs/cocoop --out compared.html',
    'cocoop-train report sweeps/few-shot --json',
  ],
  run: async (flags, context) => {
    const written = await writeReport(flags.runs, flags.out, context)
    for (const note of written.notes) context.terminal.warn(note)
    context.print(`${written.out}, ${formatBytes(written.bytes)}`)
    return written
  },
})
