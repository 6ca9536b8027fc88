/** The flag of every command that takes --data: where the papers' data sets lie, which the originals call $DATA. */
import { z } from 'zod'

export const ROOT = {
  root: z.string().optional().meta({
    description: "Folder of the papers' data sets (imagenet/, caltech-101/, ...), in their published layouts",
    value: 'DIR',
  }),
}
