/** The flags by which a run says how it is told of. */
import { z } from 'zod'

export const LOGS = {
  log_style: z.enum(['plain', 'dassl']).default('plain').meta({
    description: "Progress and log.txt in this project's lines, or in the original's, which its scripts read",
  }),
  print_freq: z.number().int().min(1).optional().meta({
    description: 'Batches from line to line with --log-style dassl (default 5 for coop, 20 for cocoop)',
  }),
  tensorboard: z
    .boolean()
    .default(false)
    .meta({ description: "Write TensorBoard's event files to tensorboard/ in the run's folder" }),
}
