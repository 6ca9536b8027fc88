/** Published CLIPs that the engine opens, for `models list`. Facts of their model cards; nothing depends on this list. */

/** A repository on the hub. */
export interface KnownModel {
  repo: string
  architecture: string
  /** In millions. */
  parameters: number
  trained_on: string
  licence: string
}

const OPENAI = { trained_on: 'OpenAI, 400 million pairs', licence: "MIT (OpenAI's code; the card names none)" }
const LAION = { trained_on: 'LAION-2B', licence: 'MIT' }
const DATACOMP = { trained_on: 'DataComp-1B', licence: 'MIT' }

export const KNOWN: readonly KnownModel[] = [
  { repo: 'openai/clip-vit-base-patch32', architecture: 'ViT-B/32', parameters: 151, ...OPENAI },
  { repo: 'openai/clip-vit-base-patch16', architecture: 'ViT-B/16', parameters: 150, ...OPENAI },
  { repo: 'openai/clip-vit-large-patch14', architecture: 'ViT-L/14', parameters: 428, ...OPENAI },
  { repo: 'openai/clip-vit-large-patch14-336', architecture: 'ViT-L/14@336px', parameters: 428, ...OPENAI },
  { repo: 'timm/resnet50_clip.openai', architecture: 'RN50', parameters: 102, ...OPENAI },
  { repo: 'timm/resnet101_clip.openai', architecture: 'RN101', parameters: 120, ...OPENAI },
  { repo: 'timm/resnet50x4_clip.openai', architecture: 'RN50x4', parameters: 178, ...OPENAI },
  { repo: 'timm/resnet50x16_clip.openai', architecture: 'RN50x16', parameters: 291, ...OPENAI },
  { repo: 'timm/resnet50x64_clip.openai', architecture: 'RN50x64', parameters: 623, ...OPENAI },
  { repo: 'laion/CLIP-ViT-B-32-laion2B-s34B-b79K', architecture: 'ViT-B/32', parameters: 151, ...LAION },
  { repo: 'laion/CLIP-ViT-B-16-laion2B-s34B-b88K', architecture: 'ViT-B/16', parameters: 150, ...LAION },
  { repo: 'laion/CLIP-ViT-L-14-laion2B-s32B-b82K', architecture: 'ViT-L/14', parameters: 428, ...LAION },
  { repo: 'laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K', architecture: 'ViT-B/32', parameters: 151, ...DATACOMP },
  { repo: 'laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K', architecture: 'ViT-B/16', parameters: 150, ...DATACOMP },
  { repo: 'laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K', architecture: 'ViT-L/14', parameters: 428, ...DATACOMP },
  {
    repo: 'wkcn/TinyCLIP-ViT-8M-16-Text-3M-YFCC15M',
    architecture: 'ViT-8M/16',
    parameters: 11,
    trained_on: 'distilled, YFCC-15M',
    licence: 'MIT',
  },
  {
    repo: 'wkcn/TinyCLIP-ViT-40M-32-Text-19M-LAION400M',
    architecture: 'ViT-40M/32',
    parameters: 59,
    trained_on: 'distilled, LAION-400M',
    licence: 'MIT',
  },
]
