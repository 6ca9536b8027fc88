/**
 * The fifteen data sets of the CoOp and CoCoOp papers: where each lies below the root, what belongs to it, and where that comes from.
 * Layouts and split files are those of the originals' repository (its DATASETS.md); sizes are those of the papers.
 */
import type { Files, Split } from '../dataset.ts'
import { fromAircraft, fromClassFolders, fromPets, fromSun, fromUcf, type Lists } from './generate.ts'
import { imagenet, imagenetFolders, imagenetV2 } from './imagenet.ts'

/** A file or folder of a set besides its images, relative to the set's folder. */
export interface Part {
  path: string
  /** Where it comes from: a page, or {@link drive}. */
  from: string
}

/** A set whose three lists are in a split file, and what makes them where there is none, as the original did. */
interface WithSplit {
  split: Part
  /** `undefined` for a set that is not cut here: its labels are in MATLAB files, and everybody uses the split file. */
  generate: ((files: Files, seed: number) => Promise<Lists>) | undefined
  /** What `generate` reads. */
  parts: readonly Part[]
}

/** A set whose lists are made of its folders or of lists that come with it. */
interface Listing {
  list: (files: Files) => Promise<Lists>
  parts: readonly Part[]
}

export interface Paper {
  /** As the originals' configuration files call it, and this project's. */
  name: string
  /** As the originals' registry calls it. */
  registry: string
  folder: string
  /** Folders of the images below `folder`; a split file's paths start at the first of them unless `base` says otherwise. */
  images: readonly string[]
  base?: string
  page: string
  /** What often goes wrong with this set. */
  note?: string
  source: WithSplit | Listing
  n_cls: number
  published: Record<Split, number>
}

/** A file of the originals' authors on Google Drive. */
export function drive(id: string): string {
  return `https://drive.google.com/file/d/${id}`
}

const CLASSNAMES: Part = { path: 'classnames.txt', from: drive('1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF') }
const testOnly = (test: number) => ({ train: 0, val: 0, test })
const IMAGENET_NAMES = 'Its classnames.txt is the one of imagenet/, which is taken where there is none here.'

export const PAPERS: readonly Paper[] = [
  {
    name: 'imagenet',
    registry: 'ImageNet',
    folder: 'imagenet',
    images: ['images/train', 'images/val'],
    page: 'https://image-net.org/',
    note: 'images/train and images/val each hold a folder per class, named n01440764 and so on; the 50,000 validation images are published without them.',
    source: { list: imagenet, parts: [CLASSNAMES] },
    n_cls: 1000,
    published: { train: 1_281_167, val: 50_000, test: 50_000 },
  },
  {
    name: 'caltech101',
    registry: 'Caltech101',
    folder: 'caltech-101',
    images: ['101_ObjectCategories'],
    page: 'https://data.caltech.edu/records/mzrjq-6wc02',
    source: {
      split: { path: 'split_zhou_Caltech101.json', from: drive('1hyarUivQE36mY6jSomru6Fjd-JzwcCzN') },
      parts: [],
      generate: fromClassFolders('101_ObjectCategories', {
        without: ['BACKGROUND_Google', 'Faces_easy'],
        renamed: { airplanes: 'airplane', Faces: 'face', Leopards: 'leopard', Motorbikes: 'motorbike' },
      }),
    },
    n_cls: 100,
    published: { train: 4128, val: 1649, test: 2465 },
  },
  {
    name: 'oxford_pets',
    registry: 'OxfordPets',
    folder: 'oxford_pets',
    images: ['images'],
    page: 'https://www.robots.ox.ac.uk/~vgg/data/pets/',
    source: {
      split: { path: 'split_zhou_OxfordPets.json', from: drive('1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs') },
      parts: ['annotations/trainval.txt', 'annotations/test.txt'].map((path) => ({
        path,
        from: 'annotations.tar.gz of the page',
      })),
      generate: fromPets,
    },
    n_cls: 37,
    published: { train: 2944, val: 736, test: 3669 },
  },
  {
    name: 'stanford_cars',
    registry: 'StanfordCars',
    folder: 'stanford_cars',
    images: ['cars_train', 'cars_test'],
    base: '',
    page: 'https://ai.stanford.edu/~jkrause/cars/car_dataset.html',
    note: "The official downloads are gone. Of Kaggle's copies those fit whose files are called 00001.jpg and lie in cars_train/ and cars_test/ (often one folder deeper: move them up); copies that are sorted into class folders have other file names, which the split file does not know.",
    source: {
      split: { path: 'split_zhou_StanfordCars.json', from: drive('1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT') },
      parts: [],
      generate: undefined,
    },
    n_cls: 196,
    published: { train: 6509, val: 1635, test: 8041 },
  },
  {
    name: 'oxford_flowers',
    registry: 'OxfordFlowers',
    folder: 'oxford_flowers',
    images: ['jpg'],
    page: 'https://www.robots.ox.ac.uk/~vgg/data/flowers/102/',
    source: {
      split: { path: 'split_zhou_OxfordFlowers.json', from: drive('1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT') },
      parts: [],
      generate: undefined,
    },
    n_cls: 102,
    published: { train: 4093, val: 1633, test: 2463 },
  },
  {
    name: 'food101',
    registry: 'Food101',
    folder: 'food-101',
    images: ['images'],
    page: 'https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/',
    source: {
      split: { path: 'split_zhou_Food101.json', from: drive('1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl') },
      parts: [],
      generate: fromClassFolders('images'),
    },
    n_cls: 101,
    published: { train: 50_500, val: 20_200, test: 30_300 },
  },
  {
    name: 'fgvc_aircraft',
    registry: 'FGVCAircraft',
    folder: 'fgvc_aircraft',
    images: ['images'],
    page: 'https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/',
    note: 'What lies in data/ of the archive goes into fgvc_aircraft/.',
    source: {
      list: fromAircraft,
      parts: ['variants.txt', 'images_variant_train.txt', 'images_variant_val.txt', 'images_variant_test.txt'].map(
        (path) => ({ path, from: `data/${path} of the page's archive` }),
      ),
    },
    n_cls: 100,
    published: { train: 3334, val: 3333, test: 3333 },
  },
  {
    name: 'sun397',
    registry: 'SUN397',
    folder: 'sun397',
    images: ['SUN397'],
    page: 'https://vision.princeton.edu/projects/2010/SUN/',
    note: 'The images are SUN397.tar.gz, the lists Partitions.zip.',
    source: {
      split: { path: 'split_zhou_SUN397.json', from: drive('1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq') },
      parts: ['ClassName.txt', 'Training_01.txt', 'Testing_01.txt'].map((path) => ({
        path,
        from: 'Partitions.zip of the page',
      })),
      generate: fromSun,
    },
    n_cls: 397,
    published: { train: 15_880, val: 3970, test: 19_850 },
  },
  {
    name: 'dtd',
    registry: 'DescribableTextures',
    folder: 'dtd',
    images: ['images'],
    page: 'https://www.robots.ox.ac.uk/~vgg/data/dtd/',
    source: {
      split: { path: 'split_zhou_DescribableTextures.json', from: drive('1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x') },
      parts: [],
      generate: fromClassFolders('images'),
    },
    n_cls: 47,
    published: { train: 2820, val: 1128, test: 1692 },
  },
  {
    name: 'eurosat',
    registry: 'EuroSAT',
    folder: 'eurosat',
    images: ['2750'],
    page: 'https://zenodo.org/records/7711810',
    note: 'Later copies call the folder 2750 EuroSAT or EuroSAT_RGB: rename it.',
    source: {
      split: { path: 'split_zhou_EuroSAT.json', from: drive('1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o') },
      parts: [],
      generate: fromClassFolders('2750', {
        renamed: {
          AnnualCrop: 'Annual Crop Land',
          HerbaceousVegetation: 'Herbaceous Vegetation Land',
          Highway: 'Highway or Road',
          Industrial: 'Industrial Buildings',
          Pasture: 'Pasture Land',
          PermanentCrop: 'Permanent Crop Land',
          Residential: 'Residential Buildings',
          SeaLake: 'Sea or Lake',
        },
      }),
    },
    n_cls: 10,
    published: { train: 13_500, val: 5400, test: 8100 },
  },
  {
    name: 'ucf101',
    registry: 'UCF101',
    folder: 'ucf101',
    images: ['UCF-101-midframes'],
    page: drive('10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O'),
    note: "The images are the middle frames of the videos, which the originals' authors took (UCF-101-midframes.zip).",
    source: {
      split: { path: 'split_zhou_UCF101.json', from: drive('1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y') },
      parts: ['classInd.txt', 'trainlist01.txt', 'testlist01.txt'].map((file) => ({
        path: `ucfTrainTestlist/${file}`,
        from: 'the recognition splits of https://www.crcv.ucf.edu/data/UCF101.php',
      })),
      generate: fromUcf,
    },
    n_cls: 101,
    published: { train: 7639, val: 1898, test: 3783 },
  },
  {
    name: 'imagenetv2',
    registry: 'ImageNetV2',
    folder: 'imagenetv2',
    images: ['imagenetv2-matched-frequency-format-val'],
    page: 'https://github.com/modestyachts/ImageNetV2',
    note: IMAGENET_NAMES,
    source: { list: imagenetV2, parts: [CLASSNAMES] },
    n_cls: 1000,
    published: testOnly(10_000),
  },
  {
    name: 'imagenet_sketch',
    registry: 'ImageNetSketch',
    folder: 'imagenet-sketch',
    images: ['images'],
    page: 'https://github.com/HaohanWang/ImageNet-Sketch',
    note: IMAGENET_NAMES,
    source: { list: imagenetFolders('images'), parts: [CLASSNAMES] },
    n_cls: 1000,
    published: testOnly(50_889),
  },
  {
    name: 'imagenet_a',
    registry: 'ImageNetA',
    folder: 'imagenet-adversarial',
    images: ['imagenet-a'],
    page: 'https://github.com/hendrycks/natural-adv-examples',
    note: IMAGENET_NAMES,
    source: { list: imagenetFolders('imagenet-a'), parts: [CLASSNAMES] },
    n_cls: 200,
    published: testOnly(7500),
  },
  {
    name: 'imagenet_r',
    registry: 'ImageNetR',
    folder: 'imagenet-rendition',
    images: ['imagenet-r'],
    page: 'https://github.com/hendrycks/imagenet-r',
    note: IMAGENET_NAMES,
    source: { list: imagenetFolders('imagenet-r'), parts: [CLASSNAMES] },
    n_cls: 200,
    published: testOnly(30_000),
  },
]

/** The set that `name` names, by its own name or the registry's. */
export function findPaper(name: string): Paper | undefined {
  return PAPERS.find((paper) => paper.name === name || paper.registry === name)
}
