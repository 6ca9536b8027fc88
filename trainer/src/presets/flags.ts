/** The flags by which a run takes what the originals' configurations say, and of which backbone. */
import { z } from 'zod'
import { BACKBONE_NAMES } from './backbones.ts'

export const ORIGINALS = {
  preset: z.string().optional().meta({
    description: "A published configuration's options in place of the defaults; `cocoop-train presets` lists them",
    value: 'NAME',
  }),
  backbone: z.enum(BACKBONE_NAMES).optional().meta({
    description: 'Stop unless the model is this one of the papers, as a preset does',
    value: 'RN50|...|ViT-L/14',
  }),
  image_size: z.number().int().min(1).optional().meta({
    description: "Stop unless the model's pictures have this side, as INPUT.SIZE does",
  }),
  any_backbone: z.boolean().default(false).meta({ description: 'Take a preset on another backbone than its own' }),
}
