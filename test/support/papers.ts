/**
 * The papers' fifteen data sets in miniature: a few classes of small pictures each, in the folders, files and formats of the originals,
 * with what lies about in them (hidden files, folders that are no classes). Split files are left out where the set can be cut.
 */
import { png, writeFiles } from './pictures.ts'

type Tree = Record<string, Buffer | string>

/** Pictures, no two alike even across sets. */
function pictures(paths: readonly string[]): Tree {
  return Object.fromEntries(paths.map((path) => [path, png(serial++ % 256, 4 + ((serial >> 8) % 64), 4)]))
}
let serial = 0

function numbered(n: number, name: (i: number) => string): string[] {
  return Array.from({ length: n }, (_, i) => name(i + 1))
}

function pad(i: number, width: number): string {
  return String(i).padStart(width, '0')
}

const CLASSNAMES = [
  'n01440764 tench',
  'n01498041 stingray',
  'n02129165 lion',
  'n03773504 missile',
  'n04008634 missile',
  'n07714571 head cabbage',
]
const WNIDS = CLASSNAMES.map((line) => line.split(' ')[0] ?? '')
const NAMES = `${CLASSNAMES.join('\n')}\n`

function carSplit(): string {
  const row = (path: string, label: number) => [
    path,
    label,
    ['2012 Audi TT RS Coupe', '1998 Nissan 240SX Coupe'][label],
  ]
  return JSON.stringify({
    train: numbered(4, (i) => pad(i, 5)).map((name, i) => row(`cars_train/${name}.jpg`, i % 2)),
    val: [row('cars_train/00005.jpg', 0), row('cars_train/00006.jpg', 1)],
    test: [row('cars_test/00001.jpg', 1), row('cars_test/00002.jpg', 0)],
  })
}

function flowerSplit(): string {
  const row = (i: number) => [`image_${pad(i, 5)}.jpg`, (i + 1) % 2, ['pink primrose', 'globe thistle'][(i + 1) % 2]]
  const rows = (...ids: number[]) => ids.map(row)
  return JSON.stringify({ train: rows(1, 2, 3, 4), val: rows(5, 6), test: rows(7, 8) })
}

const PETS = ['Abyssinian', 'american_bulldog']
/** "Abyssinian_1 1 1 1": image, class, species, breed. */
function petLines(from: number, to: number): string {
  const ids = numbered(to - from + 1, (i) => String(i + from - 1))
  return `${PETS.flatMap((breed, i) => ids.map((id) => `${breed}_${id} ${i + 1} ${i + 1} 1`)).join('\n')}\n`
}

const VARIANTS = ['707-320', 'DC-9-30', 'Spitfire']
const SUN = ['/a/abbey', '/c/church/indoor', '/c/church/outdoor']
const UCF = ['ApplyEyeMakeup', 'YoYo']

const TREES: Record<string, () => Tree> = {
  imagenet: () => ({
    'classnames.txt': NAMES,
    ...pictures(WNIDS.flatMap((wnid) => numbered(3, (i) => `images/train/${wnid}/${wnid}_${i}.JPEG`))),
    ...pictures(WNIDS.map((wnid, i) => `images/val/${wnid}/ILSVRC2012_val_0000000${i}.JPEG`)),
  }),
  caltech101: () =>
    Object.assign(
      { '101_ObjectCategories/accordion/.DS_Store': 'x' },
      pictures([
        ...['BACKGROUND_Google', 'Faces_easy'].flatMap((name) => numbered(3, (i) => image(name, i))),
        ...numbered(5, (i) => image('Faces', i)),
        ...numbered(10, (i) => image('accordion', i)),
        ...numbered(13, (i) => image('airplanes', i)),
      ]),
    ),
  oxford_pets: () => ({
    'annotations/list.txt': '#Image CLASS-ID SPECIES BREED ID\nAbyssinian_1 1 1 1\n',
    'annotations/trainval.txt': petLines(1, 10),
    'annotations/test.txt': petLines(11, 13),
    'images/Abyssinian_1.mat': 'a file that lies there and is no image',
    ...pictures(PETS.flatMap((breed) => numbered(13, (i) => `images/${breed}_${i}.jpg`))),
  }),
  stanford_cars: () => ({
    'split_zhou_StanfordCars.json': carSplit(),
    'devkit/cars_meta.mat': 'MATLAB 5.0 MAT-file',
    ...pictures([
      ...numbered(6, (i) => `cars_train/${pad(i, 5)}.jpg`),
      ...numbered(2, (i) => `cars_test/${pad(i, 5)}.jpg`),
    ]),
  }),
  oxford_flowers: () => ({
    'split_zhou_OxfordFlowers.json': flowerSplit(),
    'cat_to_name.json': '{"1": "pink primrose", "2": "globe thistle"}',
    'imagelabels.mat': 'MATLAB 5.0 MAT-file',
    ...pictures(numbered(8, (i) => `jpg/image_${pad(i, 5)}.jpg`)),
  }),
  food101: () => ({
    'meta/classes.txt': 'apple_pie\nbaby_back_ribs\n',
    ...pictures(
      ['apple_pie', 'baby_back_ribs'].flatMap((name) => numbered(10, (i) => `images/${name}/${1000 + i}.jpg`)),
    ),
  }),
  fgvc_aircraft: () => ({
    'variants.txt': `${VARIANTS.join('\n')}\n`,
    'families.txt': 'Boeing 707\n',
    ...Object.fromEntries(
      ['train', 'val', 'test'].map((split, s) => [
        `images_variant_${split}.txt`,
        `${VARIANTS.map((name, i) => `${pad(100 * s + i, 7)} ${name}`).join('\n')}\n`,
      ]),
    ),
    ...pictures([0, 1, 2].flatMap((s) => VARIANTS.map((_, i) => `images/${pad(100 * s + i, 7)}.jpg`))),
  }),
  sun397: () => ({
    'ClassName.txt': `${SUN.join('\n')}\n`,
    'Training_01.txt': `${SUN.flatMap((name) => numbered(5, (i) => `${name}/sun_a${i}.jpg`)).join('\n')}\n`,
    'Testing_01.txt': `${SUN.flatMap((name) => numbered(2, (i) => `${name}/sun_b${i}.jpg`)).join('\n')}\n`,
    ...pictures(
      SUN.flatMap((name) => [
        ...numbered(5, (i) => `SUN397${name}/sun_a${i}.jpg`),
        ...numbered(2, (i) => `SUN397${name}/sun_b${i}.jpg`),
      ]),
    ),
  }),
  dtd: () => ({
    'images/banded/.directory': '[Desktop Entry]',
    'imdb/imdb.mat': 'MATLAB 5.0 MAT-file',
    'labels/train1.txt': 'banded/banded_0001.jpg\n',
    ...pictures(
      ['banded', 'zigzagged'].flatMap((name) => numbered(10, (i) => `images/${name}/${name}_${pad(i, 4)}.jpg`)),
    ),
  }),
  eurosat: () =>
    pictures(
      ['AnnualCrop', 'Forest', 'SeaLake'].flatMap((name) => numbered(10, (i) => `2750/${name}/${name}_${i}.jpg`)),
    ),
  ucf101: () => ({
    'ucfTrainTestlist/classInd.txt': '1 ApplyEyeMakeup\r\n2 YoYo\r\n',
    'ucfTrainTestlist/trainlist01.txt': UCF.flatMap((name, c) =>
      numbered(5, (i) => `${name}/v_${name}_g08_c0${i}.avi ${c + 1}\r\n`),
    ).join(''),
    'ucfTrainTestlist/testlist01.txt': UCF.flatMap((name) =>
      numbered(2, (i) => `${name}/v_${name}_g01_c0${i}.avi\r\n`),
    ).join(''),
    ...pictures(
      UCF.flatMap((name) => [
        ...numbered(5, (i) => `UCF-101-midframes/${framed(name)}/v_${name}_g08_c0${i}.jpg`),
        ...numbered(2, (i) => `UCF-101-midframes/${framed(name)}/v_${name}_g01_c0${i}.jpg`),
      ]),
    ),
  }),
  imagenetv2: () => ({
    'classnames.txt': NAMES,
    ...pictures(
      ['0', '1', '2', '3', '4', '5'].flatMap((name) =>
        numbered(2, (i) => `imagenetv2-matched-frequency-format-val/${name}/${i}.jpeg`),
      ),
    ),
  }),
  imagenet_sketch: () => ({
    'classnames.txt': NAMES,
    ...pictures(WNIDS.flatMap((wnid) => numbered(2, (i) => `images/${wnid}/sketch_${i}.JPEG`))),
  }),
  imagenet_a: () => ({
    'classnames.txt': NAMES,
    'imagenet-a/README.txt': 'ImageNet-A',
    ...pictures(
      ['n02129165', 'n01498041', 'n07714571'].flatMap((wnid) => numbered(2, (i) => `imagenet-a/${wnid}/0.00${i}.jpg`)),
    ),
  }),
  imagenet_r: () => ({
    'classnames.txt': NAMES,
    'imagenet-r/README.txt': 'ImageNet-R',
    ...pictures(['n01440764', 'n02129165'].flatMap((wnid) => numbered(2, (i) => `imagenet-r/${wnid}/art_${i}.jpg`))),
  }),
}

const FOLDERS: Record<string, string> = {
  caltech101: 'caltech-101',
  food101: 'food-101',
  imagenet_sketch: 'imagenet-sketch',
  imagenet_a: 'imagenet-adversarial',
  imagenet_r: 'imagenet-rendition',
}

/** The names of all of them. */
export const MINIATURES = Object.keys(TREES)

/** Writes the set `name` below `root`, in the folder where it belongs. */
export async function writeMiniature(root: string, name: string): Promise<void> {
  await writeFiles(`${root}/${FOLDERS[name] ?? name}`, TREES[name]?.() ?? {})
}

function image(folder: string, i: number): string {
  return `101_ObjectCategories/${folder}/image_${pad(i, 4)}.jpg`
}

/** The folders of the middle frames: YoYo is Yo_Yo. */
function framed(action: string): string {
  return action.replace(/(?<=.)[A-Z]/g, '_$&')
}
