/**
 * The CLIPs of the papers by the names that the originals' configurations give them, and what tells one from another.
 * A preset or a file of another backbone trains with the wrong number of epochs and the wrong picture size, and says nothing: it is refused.
 */
import type { EngineModel } from 'cocoop/node'
import { TrainError } from '../errors.ts'
import { KNOWN } from '../hub/known.ts'

type ModelInfo = EngineModel['info']
type Vision = ModelInfo['vision']

/** `layers` and `width` are those of the vision tower; `image_size` is the side of its pictures. */
interface Backbone {
  kind: Vision['kind']
  layers: number | readonly number[]
  width: number
  patch_size?: number
  image_size: number
}

const resnet = (layers: readonly number[], width: number, image_size: number): Backbone => {
  return { kind: 'resnet', layers, width, image_size }
}
const vit = (patch_size: number, layers: number, width: number, image_size = 224): Backbone => {
  return { kind: 'vit', layers, width, patch_size, image_size }
}

const BACKBONES: Readonly<Record<string, Backbone>> = {
  RN50: resnet([3, 4, 6, 3], 64, 224),
  RN101: resnet([3, 4, 23, 3], 64, 224),
  RN50x4: resnet([4, 6, 10, 6], 80, 288),
  RN50x16: resnet([6, 8, 18, 8], 96, 384),
  RN50x64: resnet([3, 15, 36, 10], 128, 448),
  'ViT-B/32': vit(32, 12, 768),
  'ViT-B/16': vit(16, 12, 768),
  'ViT-L/14': vit(14, 24, 1024),
  'ViT-L/14@336px': vit(14, 24, 1024, 336),
}

export const BACKBONE_NAMES = Object.keys(BACKBONES)

/** What a run was told of its model. */
export interface Expected {
  preset?: string | undefined
  backbone?: string | undefined
  /** The side of the model's pictures: INPUT.SIZE of the originals. */
  image_size?: number | undefined
  any_backbone?: boolean | undefined
}

/**
 * Holds a model to what was said of it.
 * @throws TrainError `model_mismatch` for another backbone or picture size, unless any will do
 */
export function checkBackbone(
  { preset, backbone, image_size, any_backbone }: Expected,
  id: string,
  info: ModelInfo,
): void {
  if (any_backbone) return
  if (backbone !== undefined && backboneOf(info) !== backbone) {
    const repo = KNOWN.find(
      ({ architecture, trained_on }) => architecture === backbone && trained_on.startsWith('OpenAI'),
    )
    const take = repo === undefined ? '' : `Take --model ${repo.repo} (\`cocoop-train models pull\` brings it), or go`
    const what = preset === undefined ? `--backbone asks for ${backbone}` : `the preset ${preset} is for ${backbone}`
    throw new TrainError(
      'model_mismatch',
      `${what}, the model ${id} is ${describe(info)}`,
      `${take || 'Go'} on with this one by --any-backbone.`,
    )
  }
  if (image_size !== undefined && info.image_size !== image_size) {
    throw new TrainError(
      'model_mismatch',
      `the pictures of the model ${id} are ${info.image_size} x ${info.image_size}, expected ${image_size} x ${image_size}`,
      "INPUT.SIZE must be the model's own; --any-backbone takes the model's.",
    )
  }
}

/** The name of the model's backbone, where it is one of the papers'. */
export function backboneOf({ vision, image_size }: ModelInfo): string | undefined {
  const same = (one: Backbone): boolean =>
    one.kind === vision.kind &&
    String(one.layers) === String(vision.layers) &&
    one.width === vision.width &&
    one.patch_size === ('patch_size' in vision ? vision.patch_size : undefined) &&
    one.image_size === image_size
  return BACKBONE_NAMES.find((name) => BACKBONES[name] !== undefined && same(BACKBONES[name]))
}

/** `ViT-B/32`, or in words where it has no name. */
export function describe(info: ModelInfo): string {
  const { vision, image_size } = info
  const shape = vision.kind === 'vit' ? `ViT with patches of ${vision.patch_size}` : 'ResNet'
  return (
    backboneOf(info) ??
    `a ${shape}, ${String(vision.layers).replaceAll(',', '-')} layers of width ${vision.width}, pictures of ${image_size} x ${image_size}`
  )
}
