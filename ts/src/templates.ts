/**
 * The templates that were published with CLIP and CoOp, and those of the embedded sets; `{}` is the class name.
 * CLIP: the 80 of ImageNet and the 7 chosen from them (notebooks/Prompt_Engineering_for_ImageNet.ipynb), one list per data set (data/prompts.md).
 * CoOp: one template per data set (Zhou et al. 2022, its `ZeroshotCLIP`).
 */
import { CocoopError } from './errors.ts'

/** CLIP's first template, and the default. */
const SIMPLE = 'a photo of a {}.'

const IMAGENET_80 = `
a bad photo of a {}.
a photo of many {}.
a sculpture of a {}.
a photo of the hard to see {}.
a low resolution photo of the {}.
a rendering of a {}.
graffiti of a {}.
a bad photo of the {}.
a cropped photo of the {}.
a tattoo of a {}.
the embroidered {}.
a photo of a hard to see {}.
a bright photo of a {}.
a photo of a clean {}.
a photo of a dirty {}.
a dark photo of the {}.
a drawing of a {}.
a photo of my {}.
the plastic {}.
a photo of the cool {}.
a close-up photo of a {}.
a black and white photo of the {}.
a painting of the {}.
a painting of a {}.
a pixelated photo of the {}.
a sculpture of the {}.
a bright photo of the {}.
a cropped photo of a {}.
a plastic {}.
a photo of the dirty {}.
a jpeg corrupted photo of a {}.
a blurry photo of the {}.
a photo of the {}.
a good photo of the {}.
a rendering of the {}.
a {} in a video game.
a photo of one {}.
a doodle of a {}.
a close-up photo of the {}.
a photo of a {}.
the origami {}.
the {} in a video game.
a sketch of a {}.
a doodle of the {}.
a origami {}.
a low resolution photo of a {}.
the toy {}.
a rendition of the {}.
a photo of the clean {}.
a photo of a large {}.
a rendition of a {}.
a photo of a nice {}.
a photo of a weird {}.
a blurry photo of a {}.
a cartoon {}.
art of a {}.
a sketch of the {}.
a embroidered {}.
a pixelated photo of a {}.
itap of the {}.
a jpeg corrupted photo of the {}.
a good photo of a {}.
a plushie {}.
a photo of the nice {}.
a photo of the small {}.
a photo of the weird {}.
the cartoon {}.
art of the {}.
a drawing of the {}.
a photo of the large {}.
a black and white photo of a {}.
the plushie {}.
a dark photo of a {}.
itap of a {}.
graffiti of the {}.
a toy {}.
itap of my {}.
a photo of a cool {}.
a photo of a small {}.
a tattoo of the {}.`

const IMAGENET_7 = `
itap of a {}.
a bad photo of the {}.
a origami {}.
a photo of the large {}.
a {} in a video game.
art of the {}.
a photo of the small {}.`

const CIFAR = `
a photo of a {}.
a blurry photo of a {}.
a black and white photo of a {}.
a low contrast photo of a {}.
a high contrast photo of a {}.
a bad photo of a {}.
a good photo of a {}.
a photo of a small {}.
a photo of a big {}.
a photo of the {}.
a blurry photo of the {}.
a black and white photo of the {}.
a low contrast photo of the {}.
a high contrast photo of the {}.
a bad photo of the {}.
a good photo of the {}.
a photo of the small {}.
a photo of the big {}.`

/** One list per data set, as in CLIP's paper. */
const CLIP: Record<string, string> = {
  birdsnap: 'a photo of a {}, a type of bird.',
  caltech101: `
a photo of a {}.
a painting of a {}.
a plastic {}.
a sculpture of a {}.
a sketch of a {}.
a tattoo of a {}.
a toy {}.
a rendition of a {}.
a embroidered {}.
a cartoon {}.
a {} in a video game.
a plushie {}.
a origami {}.
art of a {}.
graffiti of a {}.
a drawing of a {}.
a doodle of a {}.
a photo of the {}.
a painting of the {}.
the plastic {}.
a sculpture of the {}.
a sketch of the {}.
a tattoo of the {}.
the toy {}.
a rendition of the {}.
the embroidered {}.
the cartoon {}.
the {} in a video game.
the plushie {}.
the origami {}.
art of the {}.
graffiti of the {}.
a drawing of the {}.
a doodle of the {}.`,
  cifar10: CIFAR,
  cifar100: CIFAR,
  clevr_counts: 'a photo of {} objects.',
  country211: `
a photo i took in {}.
a photo i took while visiting {}.
a photo from my home country of {}.
a photo from my visit to {}.
a photo showing the country of {}.`,
  dtd: `
a photo of a {} texture.
a photo of a {} pattern.
a photo of a {} thing.
a photo of a {} object.
a photo of the {} texture.
a photo of the {} pattern.
a photo of the {} thing.
a photo of the {} object.`,
  eurosat: `
a centered satellite photo of {}.
a centered satellite photo of a {}.
a centered satellite photo of the {}.`,
  fer2013: `
a photo of a {} looking face.
a photo of a face showing the emotion: {}.
a photo of a face looking {}.
a face that looks {}.
they look {}.
look at how {} they are.`,
  fgvc_aircraft: `
a photo of a {}, a type of aircraft.
a photo of the {}, a type of aircraft.`,
  food101: 'a photo of {}, a type of food.',
  gtsrb: `
a zoomed in photo of a "{}" traffic sign.
a centered photo of a "{}" traffic sign.
a close up photo of a "{}" traffic sign.`,
  hateful_memes: 'a {}.',
  kinetics700: `
a photo of {}.
a photo of a person {}.
a photo of a person using {}.
a photo of a person doing {}.
a photo of a person during {}.
a photo of a person performing {}.
a photo of a person practicing {}.
a video of {}.
a video of a person {}.
a video of a person using {}.
a video of a person doing {}.
a video of a person during {}.
a video of a person performing {}.
a video of a person practicing {}.
a example of {}.
a example of a person {}.
a example of a person using {}.
a example of a person doing {}.
a example of a person during {}.
a example of a person performing {}.
a example of a person practicing {}.
a demonstration of {}.
a demonstration of a person {}.
a demonstration of a person using {}.
a demonstration of a person doing {}.
a demonstration of a person during {}.
a demonstration of a person performing {}.
a demonstration of a person practicing {}.`,
  kitti: '{}',
  mnist: 'a photo of the number: "{}".',
  oxford_flowers: 'a photo of a {}, a type of flower.',
  oxford_pets: 'a photo of a {}, a type of pet.',
  patch_camelyon: 'this is a photo of {}',
  resisc45: `
satellite imagery of {}.
aerial imagery of {}.
satellite photo of {}.
aerial photo of {}.
satellite view of {}.
aerial view of {}.
satellite imagery of a {}.
aerial imagery of a {}.
satellite photo of a {}.
aerial photo of a {}.
satellite view of a {}.
aerial view of a {}.
satellite imagery of the {}.
aerial imagery of the {}.
satellite photo of the {}.
aerial photo of the {}.
satellite view of the {}.
aerial view of the {}.`,
  sst2: 'a {} review of a movie.',
  stanford_cars: `
a photo of a {}.
a photo of the {}.
a photo of my {}.
i love my {}!
a photo of my dirty {}.
a photo of my clean {}.
a photo of my new {}.
a photo of my old {}.`,
  stl10: `
a photo of a {}.
a photo of the {}.`,
  sun397: `
a photo of a {}.
a photo of the {}.`,
  ucf101: `
a photo of a person {}.
a video of a person {}.
a example of a person {}.
a demonstration of a person {}.
a photo of the person {}.
a video of the person {}.
a example of the person {}.
a demonstration of the person {}.
a photo of a person using {}.
a video of a person using {}.
a example of a person using {}.
a demonstration of a person using {}.
a photo of the person using {}.
a video of the person using {}.
a example of the person using {}.
a demonstration of the person using {}.
a photo of a person doing {}.
a video of a person doing {}.
a example of a person doing {}.
a demonstration of a person doing {}.
a photo of the person doing {}.
a video of the person doing {}.
a example of the person doing {}.
a demonstration of the person doing {}.
a photo of a person during {}.
a video of a person during {}.
a example of a person during {}.
a demonstration of a person during {}.
a photo of the person during {}.
a video of the person during {}.
a example of the person during {}.
a demonstration of the person during {}.
a photo of a person performing {}.
a video of a person performing {}.
a example of a person performing {}.
a demonstration of a person performing {}.
a photo of the person performing {}.
a video of the person performing {}.
a example of the person performing {}.
a demonstration of the person performing {}.
a photo of a person practicing {}.
a video of a person practicing {}.
a example of a person practicing {}.
a demonstration of a person practicing {}.
a photo of the person practicing {}.
a video of the person practicing {}.
a example of the person practicing {}.
a demonstration of the person practicing {}.`,
  voc2007: 'a photo of a {}.',
}

/** One template per data set, by the names of CoOp's configurations; the embedded sets' below. */
const DATASET: Record<string, string> = {
  caltech101: SIMPLE,
  dtd: '{} texture.',
  eurosat: 'a centered satellite photo of {}.',
  fgvc_aircraft: 'a photo of a {}, a type of aircraft.',
  food101: 'a photo of {}, a type of food.',
  imagenet: SIMPLE,
  imagenet_a: SIMPLE,
  imagenet_r: SIMPLE,
  imagenet_sketch: SIMPLE,
  imagenetv2: SIMPLE,
  oxford_flowers: 'a photo of a {}, a type of flower.',
  oxford_pets: 'a photo of a {}, a type of pet.',
  stanford_cars: SIMPLE,
  sun397: SIMPLE,
  ucf101: 'a photo of a person doing {}.',
  'emoji-backdrops': 'a photo of a thing on a {} background.',
  'emoji-kinds': SIMPLE,
}

const lines = (text: string) => text.trim().split('\n')
const prefixed = (prefix: string, sets: Record<string, string>) =>
  Object.entries(sets).map(([name, text]) => [`${prefix}:${name}`, lines(text)] as const)

/** Every set by its name: `simple`, `imagenet-80`, `imagenet-7`, `dataset:NAME` (CoOp's), `clip:NAME` (CLIP's). */
export const TEMPLATE_SETS: ReadonlyMap<string, readonly string[]> = new Map<string, readonly string[]>([
  ['simple', [SIMPLE]],
  ['imagenet-80', lines(IMAGENET_80)],
  ['imagenet-7', lines(IMAGENET_7)],
  ...prefixed('dataset', DATASET),
  ...prefixed('clip', CLIP),
])

/** The templates of a set; case, `-` and `_` do not matter (`dataset:OxfordPets`). `undefined` if there is none of that name. */
export function templateSet(name: string): readonly string[] | undefined {
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9:]/g, '')
  const found = [...TEMPLATE_SETS.keys()].find((key) => plain(key) === plain(name))
  return found === undefined ? undefined : TEMPLATE_SETS.get(found)
}

/**
 * A template as the engine takes it: `{class}` may stand for `{}`.
 * @throws CocoopError `bad_text` if it has no place for the class name, or another word in braces
 */
export function parseTemplate(text: string): string {
  const template = text.replaceAll('{class}', '{}')
  const refuse = (why: string) => new CocoopError('bad_text', `template ${JSON.stringify(text)}: ${why}`)
  if (!template.includes('{}')) throw refuse('{} or {class} must stand where the class name goes')
  const other = /\{[^}]*\}?|\}/.exec(template.replaceAll('{}', ''))
  if (other !== null) throw refuse(`${other[0]} is neither {} nor {class}`)
  return template
}
