/** The papers' sets in their published layouts, whole, without their split files, and misplaced. The expected cuts are CPython 3.11's. */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { MINIATURES, writeMiniature } from '../../../../test/support/papers.ts'
import { writeDurably } from '../../files.ts'
import { selectClasses, selectShots } from '../../select.ts'
import { type Dataset, everyItem, SPLITS } from '../dataset.ts'
import { openDataset, openPath } from '../open.ts'
import { openPaper } from './open.ts'
import { findPaper, PAPERS } from './table.ts'

vi.mock('../../files.ts', async (original) => {
  const files = await original<typeof import('../../files.ts')>()
  return { ...files, writeDurably: vi.fn(files.writeDurably) }
})

let root: string
let warnings: string[]
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'papers-'))
  warnings = []
})
afterEach(() => rm(root, { recursive: true }))

function open(name: string): Promise<Dataset> {
  return openDataset(name, {
    root,
    data_sets: join(root, 'none'),
    terminal: { warn: (text) => void warnings.push(text) },
  })
}

function counts({ train, val, test }: Dataset): number[] {
  return [train.length, val.length, test.length]
}

const SHIFTED = ['imagenetv2', 'imagenet_sketch', 'imagenet_a', 'imagenet_r']
const EXPECTED: Record<string, { classnames: string[]; counts: number[]; base: number; path: string }> = {
  imagenet: {
    classnames: ['tench', 'stingray', 'lion', 'missile', 'missile', 'head cabbage'],
    counts: [18, 6, 6],
    base: 3,
    path: 'train/n01440764/n01440764_1.JPEG',
  },
  caltech101: {
    classnames: ['face', 'accordion', 'airplane'],
    counts: [13, 6, 9],
    base: 2,
    path: 'Faces/image_0003.jpg',
  },
  oxford_pets: {
    classnames: ['abyssinian', 'american_bulldog'],
    counts: [16, 4, 6],
    base: 1,
    path: 'Abyssinian_10.jpg',
  },
  stanford_cars: {
    classnames: ['2012 Audi TT RS Coupe', '1998 Nissan 240SX Coupe'],
    counts: [4, 2, 2],
    base: 1,
    path: 'cars_train/00001.jpg',
  },
  oxford_flowers: {
    classnames: ['pink primrose', 'globe thistle'],
    counts: [4, 2, 2],
    base: 1,
    path: 'image_00001.jpg',
  },
  food101: {
    classnames: ['apple_pie', 'baby_back_ribs'],
    counts: [10, 4, 6],
    base: 1,
    path: 'apple_pie/1007.jpg',
  },
  fgvc_aircraft: {
    classnames: ['707-320', 'DC-9-30', 'Spitfire'],
    counts: [3, 3, 3],
    base: 2,
    path: '0000000.jpg',
  },
  sun397: {
    classnames: ['abbey', 'indoor church', 'outdoor church'],
    counts: [12, 3, 6],
    base: 2,
    path: 'a/abbey/sun_a4.jpg',
  },
  dtd: { classnames: ['banded', 'zigzagged'], counts: [10, 4, 6], base: 1, path: 'banded/banded_0007.jpg' },
  eurosat: {
    classnames: ['Annual Crop Land', 'Forest', 'Sea or Lake'],
    counts: [15, 6, 9],
    base: 2,
    path: 'AnnualCrop/AnnualCrop_6.jpg',
  },
  ucf101: {
    classnames: ['Apply_Eye_Makeup', 'Yo_Yo'],
    counts: [8, 2, 4],
    base: 1,
    path: 'Apply_Eye_Makeup/v_ApplyEyeMakeup_g08_c04.jpg',
  },
  imagenetv2: {
    classnames: ['tench', 'stingray', 'lion', 'missile', 'missile', 'head cabbage'],
    counts: [0, 0, 12],
    base: 3,
    path: '0/1.jpeg',
  },
  imagenet_sketch: {
    classnames: ['tench', 'stingray', 'lion', 'missile', 'missile', 'head cabbage'],
    counts: [0, 0, 12],
    base: 3,
    path: 'n01440764/sketch_1.JPEG',
  },
  imagenet_a: {
    classnames: ['stingray', 'lion', 'head cabbage'],
    counts: [0, 0, 6],
    base: 2,
    path: 'n01498041/0.001.jpg',
  },
  imagenet_r: { classnames: ['tench', 'lion'], counts: [0, 0, 4], base: 1, path: 'n01440764/art_1.jpg' },
}

test('there are fifteen, and each has two names', () => {
  expect(PAPERS.map(({ name }) => name).sort()).toEqual(Object.keys(EXPECTED).sort())
  expect(MINIATURES.toSorted()).toEqual(Object.keys(EXPECTED).sort())
  for (const { name, registry } of PAPERS) expect(findPaper(registry)?.name).toBe(name)
})

describe.each(Object.entries(EXPECTED))('%s', (name, expected) => {
  beforeEach(() => writeMiniature(root, name))

  test('has its classes, splits and images', async () => {
    const dataset = await open(name)
    expect(dataset.name).toBe(name)
    expect(dataset.classnames).toEqual(expected.classnames)
    expect(counts(dataset)).toEqual(expected.counts)
    const first = [...everyItem(dataset)][0]?.item
    expect(first).toMatchObject({ path: expected.path, label: 0, classname: expected.classnames[0] })
    for (const { item } of everyItem(dataset)) {
      expect(dataset.classnames[item.label]).toBe(item.classname)
      expect((await item.read()).subarray(1, 4).toString()).toBe('PNG')
    }
    const { train, val, test } = dataset
    const apart = name === 'imagenet' ? [...train, ...test] : [...train, ...val, ...test]
    expect(new Set(apart.map(({ source }) => source)).size).toBe(apart.length)
  })

  test('is known by the name of the registry, and cut into base and new', async () => {
    const dataset = await open(findPaper(name)?.registry ?? '')
    expect(dataset.name).toBe(name)
    expect(await selectClasses(dataset, 'base')).toEqual(expected.classnames.slice(0, expected.base))
    expect(await selectClasses(dataset, 'new')).toEqual(expected.classnames.slice(expected.base))
    if (SHIFTED.includes(name)) return
    const shots = await selectShots(dataset, { shots: 1, seed: 1, classes: 'new', allow_fewer: false })
    expect(shots.labels).toEqual(expected.classnames.slice(expected.base).map((_, i) => i))
  })

  test('opens to the same lists a second time', async () => {
    const paths = (dataset: Dataset) => SPLITS.map((split) => dataset[split].map(({ path }) => path))
    const first = paths(await open(name))
    expect(paths(await open(name))).toEqual(first)
    const cut = ['caltech101', 'oxford_pets', 'food101', 'sun397', 'dtd', 'eurosat', 'ucf101'].includes(name)
    expect(warnings).toHaveLength(cut ? 1 : 0) // the first time only: then there is a split file
    if (cut) expect(warnings[0]).toMatch(/split_zhou_\w+\.json is missing, .*drive\.google\.com\/file\/d\/\w/)
  })
})

describe('a missing split file', () => {
  test('is made as CPython and the original make it: halves of class folders', async () => {
    await writeMiniature(root, 'caltech101')
    const { train, val, test } = await open('caltech101')
    const paths = [train, val, test].map((items) =>
      items.map(({ path }) => path.replace(/\/image_00|\.jpg/g, '')).join(' '),
    )
    expect(paths).toEqual([
      'Faces03 Faces04 accordion03 accordion07 accordion05 accordion01 accordion02 airplanes03 airplanes04 airplanes12 airplanes11 airplanes09 airplanes02',
      'Faces05 accordion04 accordion06 airplanes06 airplanes05 airplanes08',
      'Faces01 Faces02 accordion09 accordion10 accordion08 airplanes01 airplanes10 airplanes13 airplanes07',
    ])
  })

  test('is made as CPython and the original make it: a fifth of the training list', async () => {
    await writeMiniature(root, 'oxford_pets')
    const { train, val } = await open('oxford_pets')
    const place = ({ label, path }: { label: number; path: string }) =>
      10 * label + Number(/_(\d+)\.jpg/.exec(path)?.[1]) - 1
    expect(train.map(place)).toEqual([9, 7, 5, 3, 0, 4, 1, 2, 12, 16, 15, 19, 10, 17, 11, 13])
    expect(val.map(place)).toEqual([6, 8, 14, 18])
  })

  test('is written as the original writes it, and can be opened by itself', async () => {
    await writeMiniature(root, 'eurosat')
    const dataset = await open('eurosat')
    const path = join(root, 'eurosat/split_zhou_EuroSAT.json')
    const text = await readFile(path, 'utf8')
    expect(text).toMatch(
      /^\{\n {4}"train": \[\n {8}\[\n {12}"AnnualCrop\/AnnualCrop_6.jpg",\n {12}0,\n {12}"Annual Crop Land"\n/,
    )
    expect(counts(await openPath(path))).toEqual(counts(dataset))
  })

  test.each(['EACCES', 'EROFS', 'ENOSPC'])('that cannot be written (%s) stays in memory, the same', async (code) => {
    await writeMiniature(root, 'dtd')
    vi.mocked(writeDurably).mockRejectedValueOnce(Object.assign(new Error(code), { code }))
    const unwritten = await open('dtd')
    expect(warnings[0]).toMatch(/is missing, so dtd was cut .* made again by each command/)
    const written = await open('dtd')
    expect(warnings[1]).toMatch(/The cut is kept in that place/)
    expect(unwritten.train.map(({ path }) => path)).toEqual(written.train.map(({ path }) => path))
  })

  test('of Cars and Flowers is asked for', async () => {
    for (const name of ['stanford_cars', 'oxford_flowers']) {
      await writeMiniature(root, name)
      const { folder, registry } = findPaper(name) ?? { folder: '', registry: '' }
      await rm(join(root, folder, `split_zhou_${registry}.json`))
      await expect(open(name)).rejects.toMatchObject({
        code: 'not_found',
        message: `${name}: ${join(root, folder)}/split_zhou_${registry}.json is missing`,
        hint: expect.stringMatching(/^It comes from https:\/\/drive\.google\.com/),
      })
    }
  })
})

test.each([
  ['imagenet', 'imagenet'],
  ['fgvc_aircraft', 'fgvc_aircraft'],
  ['eurosat', 'eurosat'],
])('the path of %s opens the same set, and writes nothing', async (name, folder) => {
  await writeMiniature(root, name)
  const byPath = await openPath(join(root, folder))
  expect(existsSync(join(root, 'eurosat/split_zhou_EuroSAT.json'))).toBe(false)
  const byName = await open(name)
  expect(byPath.classnames).toEqual(byName.classnames)
  for (const split of SPLITS)
    expect(byPath[split].map(({ source }) => source)).toEqual(byName[split].map(({ source }) => source))
})

describe('what is misplaced', () => {
  test('a name without a root', async () => {
    await expect(openDataset('dtd', { data_sets: root })).rejects.toMatchObject({
      code: 'not_found',
      hint: expect.stringContaining('COCOOP_ROOT) names the folder that holds dtd/'),
    })
  })

  test.each([
    [
      'a root that is not there',
      async () => rm(join(root, 'dtd'), { recursive: true }),
      'dtd/x',
      /there is no folder .*dtd\/x, in which dtd\/ was expected/,
      /--root DIR/,
    ],
    [
      'the set itself',
      async () => undefined,
      'dtd',
      /dtd\/dtd is missing: the set dtd is expected there, with its images in images/,
      /is the folder of dtd; the root is the folder above it/,
    ],
    [
      'a folder of another name',
      async () => rename(join(root, 'dtd'), join(root, 'DTD')),
      '',
      /dtd is missing/,
      /There is .*DTD: rename it, or link to it, as dtd/,
    ],
    [
      'a folder without sets',
      async () => rename(join(root, 'dtd'), join(root, 'textures-of-oxford')),
      '',
      /dtd is missing/,
      /holds none of the papers' sets/,
    ],
    [
      'images one folder deeper',
      async () => {
        await rename(join(root, 'dtd'), join(root, 'x'))
        await mkdir(join(root, 'dtd'))
        await rename(join(root, 'x'), join(root, 'dtd/dtd'))
      },
      '',
      /dtd\/images is missing: the images of dtd are expected there/,
      /There is .*dtd\/dtd\/images: move what lies in .*dtd\/dtd one folder up/,
    ],
  ])('%s', async (_, misplace, below, message, hint) => {
    await writeMiniature(root, 'dtd')
    await misplace()
    await expect(openDataset('dtd', { root: join(root, below), data_sets: join(root, 'none') })).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringMatching(message),
      hint: expect.stringMatching(hint),
    })
  })

  test('a file that is needed', async () => {
    await writeMiniature(root, 'fgvc_aircraft')
    await rm(join(root, 'fgvc_aircraft/variants.txt'))
    await expect(open('fgvc_aircraft')).rejects.toMatchObject({
      code: 'not_found',
      message: `fgvc_aircraft: ${join(root, 'fgvc_aircraft/variants.txt')} is missing`,
      hint: `\`cocoop-train dataset check fgvc_aircraft --root ${root}\` says what is missing and where it comes from.`,
    })
  })
})

describe('ImageNet', () => {
  beforeEach(() => writeMiniature(root, 'imagenet'))

  test('validates on what it is tested on', async () => {
    const { val, test } = await open('imagenet')
    expect(val).toBe(test)
  })

  test('may have a part of its classes', async () => {
    for (const wnid of ['n01498041', 'n02129165'])
      for (const split of ['train', 'val']) await rm(join(root, 'imagenet/images', split, wnid), { recursive: true })
    const { classnames, test } = await open('imagenet')
    expect(classnames).toEqual(['tench', 'missile', 'missile', 'head cabbage'])
    expect(test.map(({ label }) => label)).toEqual([0, 1, 2, 3])
  })

  test('can be tested on without its training images', async () => {
    await rm(join(root, 'imagenet/images/train'), { recursive: true })
    expect(counts(await open('imagenet'))).toEqual([0, 6, 6])
  })

  test('with validation images that are not sorted is explained', async () => {
    await rm(join(root, 'imagenet/images/val'), { recursive: true })
    await mkdir(join(root, 'imagenet/images/val'))
    await writeFile(join(root, 'imagenet/images/val/ILSVRC2012_val_00000001.JPEG'), '')
    await expect(open('imagenet')).rejects.toThrow('images/val holds images, not a folder for each class')
  })

  test('gives its class names to the shifted sets that have none', async () => {
    await writeMiniature(root, 'imagenet_a')
    await rm(join(root, 'imagenet-adversarial/classnames.txt'))
    expect((await open('imagenet_a')).classnames).toEqual(['stingray', 'lion', 'head cabbage'])
  })

  test.each([
    ['n99999999 unknown', 'the folder n01440764 is no class of classnames.txt'],
    ['n01440764\n', 'classnames.txt, line 1: expected "n01440764 tench", got "n01440764"'],
    ['\n', 'classnames.txt is empty'],
  ])('with classnames.txt %j is refused', async (text, message) => {
    await writeFile(join(root, 'imagenet/classnames.txt'), text)
    await expect(open('imagenet')).rejects.toThrow(message)
  })
})

test.each([
  [
    'fgvc_aircraft',
    'images_variant_val.txt',
    '0000100 707-320\n0000101 Concorde\n',
    'line 2: "Concorde" is not in variants.txt',
  ],
  ['sun397', 'Training_01.txt', '/a/abbey/1.jpg\n/b/beach/1.jpg\n', 'line 2: "/b/beach" is no class of ClassName.txt'],
  ['ucf101', 'ucfTrainTestlist/testlist01.txt', 'Swim/v_1.avi\n', 'line 1: "Swim" is no class of classInd.txt'],
  ['ucf101', 'ucfTrainTestlist/classInd.txt', 'ApplyEyeMakeup 1\n', 'line 1: expected "number Action"'],
  ['oxford_pets', 'annotations/test.txt', 'Abyssinian_1 x\n', 'line 1: expected "Breed_number class ..."'],
  ['oxford_pets', 'annotations/trainval.txt', 'a_1 1 1 1\n', 'class "a" has 1 images, too few to be cut'],
])('%s with a wrong %s is refused with the line', async (name, file, text, message) => {
  await writeMiniature(root, name)
  const paper = findPaper(name)
  await writeFile(join(root, paper?.folder ?? '', file), text)
  await expect(openPaper(paper!, root)).rejects.toThrow(message)
})
