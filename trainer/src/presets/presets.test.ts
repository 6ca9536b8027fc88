/** Presets against the papers' table, files of the originals' form against presets, and what is refused. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EngineModel } from 'cocoop/node'
import { expect, test } from 'vitest'
import { train } from '../commands/train.ts'
import { parseFlags } from '../flags.ts'
import { resolve, TRAIN } from '../runs/options.ts'
import { backboneOf, checkBackbone } from './backbones.ts'
import { PRESETS } from './table.ts'

const folder = mkdtempSync(join(tmpdir(), 'presets-'))
const file = (name: string, text: string) => {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}
const parse = (args: string[], env = {}) => parseFlags(train, args, env)
const count = (text: string) => text.split(' ').length
const resolved = (args: string[]) => resolve(TRAIN.parse(parse(['--data', 'x', ...args]).options), 'x', count)
const refusal = (message: string, hint = '') =>
  expect.objectContaining({
    code: expect.stringMatching(/usage|not_found/),
    message: expect.stringContaining(message),
    ...(hint === '' ? {} : { hint: expect.stringContaining(hint) }),
  })

/** Name, method, backbone, epochs, tokens, words: the tables of the two papers' configurations. */
const PUBLISHED: [string, 'coop' | 'cocoop', string, number, number, string][] = [
  ['rn50', 'coop', 'RN50', 200, 16, ''],
  ['rn50_ep100', 'coop', 'RN50', 100, 16, ''],
  ['rn50_ep50', 'coop', 'RN50', 50, 16, ''],
  ['rn50_ctxv1', 'coop', 'RN50', 200, 4, 'a photo of a'],
  ['rn50_ep50_ctxv1', 'coop', 'RN50', 50, 4, 'a photo of a'],
  ['rn101', 'coop', 'RN101', 200, 16, ''],
  ['rn101_ep50', 'coop', 'RN101', 50, 16, ''],
  ['vit_b32', 'coop', 'ViT-B/32', 200, 16, ''],
  ['vit_b32_ep50', 'coop', 'ViT-B/32', 50, 16, ''],
  ['vit_b16', 'coop', 'ViT-B/16', 200, 16, ''],
  ['vit_b16_ep100', 'coop', 'ViT-B/16', 100, 16, ''],
  ['vit_b16_ep50', 'coop', 'ViT-B/16', 50, 16, ''],
  ['vit_b16_ctxv1', 'coop', 'ViT-B/16', 200, 4, 'a photo of a'],
  ['vit_b16_ep100_ctxv1', 'coop', 'ViT-B/16', 100, 4, 'a photo of a'],
  ['vit_b16_ep50_ctxv1', 'coop', 'ViT-B/16', 50, 4, 'a photo of a'],
  ['vit_b16_c4_ep10_batch1_ctxv1', 'cocoop', 'ViT-B/16', 10, 4, 'a photo of a'],
  ['vit_b16_c4_ep10_batch1', 'cocoop', 'ViT-B/16', 10, 4, ''],
  ['vit_b16_c8_ep10_batch1', 'cocoop', 'ViT-B/16', 10, 8, ''],
  ['vit_b16_c16_ep10_batch1', 'cocoop', 'ViT-B/16', 10, 16, ''],
]

test('there are these presets and no others', () => {
  expect(Object.keys(PRESETS)).toEqual(PUBLISHED.map(([name]) => name))
})

/** A method's file as the originals write theirs: a tuple, 1e-5, and sections. */
function methodFile([name, method, backbone, epochs, n_ctx, words]: (typeof PUBLISHED)[number]): string {
  const batch = method === 'coop' ? 32 : 1
  const own = words === '' && method === 'coop' ? [] : [`    CTX_INIT: "${words}"`]
  const context = method === 'coop' ? own : [`    N_CTX: ${n_ctx}`, `    CTX_INIT: "${words}"`, '    PREC: "fp32"']
  return file(
    `${name}.yaml`,
    [
      `DATALOADER:\n  TRAIN_X:\n    BATCH_SIZE: ${batch}\n  TEST:\n    BATCH_SIZE: 100\n  NUM_WORKERS: 8`,
      'INPUT:\n  SIZE: (224, 224)\n  INTERPOLATION: "bicubic"',
      '  PIXEL_MEAN: [0.48145466, 0.4578275, 0.40821073]\n  PIXEL_STD: [0.26862954, 0.26130258, 0.27577711]',
      '  TRANSFORMS: ["random_resized_crop", "random_flip", "normalize"]',
      `OPTIM:\n  NAME: "sgd"\n  LR: 0.002\n  MAX_EPOCH: ${epochs}\n  LR_SCHEDULER: "cosine"`,
      '  WARMUP_EPOCH: 1\n  WARMUP_TYPE: "constant"\n  WARMUP_CONS_LR: 1e-5',
      `TRAIN:\n  PRINT_FREQ: ${method === 'coop' ? 5 : 20}\nMODEL:\n  BACKBONE:\n    NAME: "${backbone}"`,
      ...(context.length === 0 ? [] : [`TRAINER:\n  ${method.toUpperCase()}:`, ...context]),
    ].join('\n'),
  )
}

test.each(PUBLISHED)('%s: the preset is what the paper says, and the file says the same', (...row) => {
  const [name, method, backbone, epochs, n_ctx, ctx_init] = row
  const { preset, ...options } = resolved(['--preset', name])
  expect(preset).toBe(name)
  expect(options).toMatchObject({ method, backbone, epochs, n_ctx, ctx_init })
  expect(options).toMatchObject({
    batch_size: method === 'coop' ? 32 : 1,
    lr: 0.002,
    warmup_epochs: 1,
    warmup_lr: 1e-5,
  })
  expect(options).toMatchObject({ print_freq: method === 'coop' ? 5 : 20, augment: 'crop-flip', csc: false })
  const { image_size, ...read } = resolved(['--config', methodFile(row), '--method', method])
  expect(read).toEqual(options)
  expect(image_size).toBe(224)
})

test('rn50_val, and a file like it, trains nothing; other methods may take the file', () => {
  expect(() => parse(['--preset', 'rn50_val'])).toThrow(refusal('rn50_val has no optimiser', '--method linear-probe'))
  const val = file(
    'rn50_val.yaml',
    'DATALOADER:\n  TRAIN_X:\n    BATCH_SIZE: 200\nMODEL:\n  BACKBONE:\n    NAME: "RN50"\n',
  )
  expect(() => parse(['--config', val])).toThrow(refusal('rn50_val.yaml has no OPTIM section'))
  expect(() => parse(['--config', val, '--method', 'coop'])).toThrow(refusal('no OPTIM section'))
  expect(parse(['--config', val, '--method', 'zero-shot']).options).toMatchObject({ backbone: 'RN50' })
  expect(() => parse(['--preset', 'vit_b16_ctx'])).toThrow(refusal('no preset called vit_b16_ctx', 'vit_b16_ctxv1'))
})

test('flags > environment > own file > the originals’ files > preset > defaults, and --set above all', () => {
  const data = file('dtd.yaml', 'DATASET:\n  ROOT: "/sets"\n  NAME: "DescribableTextures"\nSEED: 2\n')
  const own = file('own.yaml', 'momentum: 0.5\nweight_decay: 0.1\nlr: 0.3\n')
  const optim = 'NAME: sgd\n  LR_SCHEDULER: cosine\n  WARMUP_TYPE: constant\n  WARMUP_EPOCH: 2'
  const method = file('method.yaml', `OPTIM:\n  ${optim}\n  LR: 0.1\n  MAX_EPOCH: 30\n  MOMENTUM: 0.2\nSEED: 3\n`)
  const args = ['--preset', 'rn50', '--config', data, '--config', method, '--config', own]
  const { options, given } = parse([...args, '--lr', '0.4', '--set', 'OPTIM.LR=0.6'], {
    COCOOP_LR: '0.5',
    COCOOP_MOMENTUM: '0.7',
  })
  expect(options).toMatchObject({
    method: 'coop', // preset
    batch_size: 32, // preset
    epochs: 30, // file
    warmup_epochs: 2,
    seed: 3, // the later file
    data: 'dtd',
    root: '/sets',
    weight_decay: 0.1, // own file
    momentum: 0.7, // environment
    lr: 0.6, // --set
  })
  expect(parse([...args, '--lr', '0.4'], { COCOOP_LR: '0.5' }).options.lr).toBe(0.4)
  expect(given.has('epochs')).toBe(false)
  expect(given.has('lr')).toBe(true)
})

test.each([
  [['TRAINER.COOP.N_CTX=8'], ['--method', 'coop'], { n_ctx: 8, ctx_init: '' }],
  [['TRAINER.COCOOP.N_CTX=4'], [], { method: 'cocoop', n_ctx: 4, ctx_init: '' }],
  [
    ['TRAINER.COOP.CSC=True', 'TRAINER.COOP.CLASS_TOKEN_POSITION=middle'],
    [],
    { csc: true, class_token_position: 'middle' },
  ],
  [['TRAINER.COOP.CTX_INIT=this_is a'], ['--preset', 'rn50'], { ctx_init: 'this is a', n_ctx: 3 }],
  [['DATASET.NUM_SHOTS=-1', 'DATASET.SUBSAMPLE_CLASSES=base'], [], { shots: 0, classes: 'base' }],
  [
    ['OPTIM.MAX_EPOCH=3', 'INPUT.SIZE=(288, 288)', 'TRAIN.PRINT_FREQ=7'],
    [],
    { epochs: 3, image_size: 288, print_freq: 7 },
  ],
])('--set %j', (sets, args, wanted) => {
  expect(resolved([...args, ...sets.flatMap((set) => ['--set', set])])).toMatchObject(wanted)
})

test('a file of the other method gives CoCoOp what the original would: 16 random tokens', () => {
  const [row] = PUBLISHED
  if (row === undefined) throw new Error('no row')
  expect(resolved(['--config', methodFile(row), '--method', 'cocoop'])).toMatchObject({ n_ctx: 16, ctx_init: '' })
})

test('the words of a flag take the tokens of a preset away; a number beside the words of a preset is refused', () => {
  expect(resolved(['--preset', 'rn50', '--ctx-init', 'a photo of'])).toMatchObject({ n_ctx: 3 })
  expect(() => resolved(['--preset', 'rn50_ctxv1', '--n-ctx', '8'])).toThrow(refusal('--n-ctx 8 does not go with'))
  expect(() => resolved(['--preset', 'rn50_ctxv1', '--set', 'TRAINER.COOP.N_CTX=8'])).toThrow(refusal('--n-ctx 8'))
})

const SGD = 'NAME: sgd, LR_SCHEDULER: cosine, WARMUP_TYPE: constant, WARMUP_EPOCH: 1'
test.each([
  ['OPTIM: {NAME: adam}', 'OPTIM.NAME: expected "sgd", got "adam"'],
  ['OPTIM: {LR: 0.1}', 'OPTIM.NAME, which the file leaves to Dassl\'s default: expected "sgd", got "adam"'],
  ['OPTIM: {NAME: sgd, LR_SCHEDULER: single_step}', 'OPTIM.LR_SCHEDULER'],
  [
    'OPTIM: {NAME: sgd, LR_SCHEDULER: cosine, WARMUP_EPOCH: 1, WARMUP_TYPE: linear}',
    'OPTIM.WARMUP_TYPE: expected "constant"',
  ],
  [`OPTIM: {${SGD}, SGD_NESTEROV: True}`, 'OPTIM.SGD_NESTEROV'],
  [`OPTIM: {${SGD}, LR: fast}`, 'OPTIM.LR: expected a number, got "fast"'],
  [`OPTIM: {${SGD}, MAX_EPOCHS: 5}`, 'unknown key OPTIM.MAX_EPOCHS'],
  [`OPTIM: {${SGD}}\nINPUT: {TRANSFORMS: [random_flip, cutout]}`, 'INPUT.TRANSFORMS'],
  [`OPTIM: {${SGD}}\nINPUT: {INTERPOLATION: bilinear}`, 'INPUT.INTERPOLATION'],
  ['INPUT: {SIZE: "(224, 336)"}', 'INPUT.SIZE: expected (n, n), got [224,336]'],
  [`INPUT: {SIZE: [224, 224], INTERPOLATION: bicubic, PIXEL_MEAN: [0, 0, 0]}`, 'INPUT.PIXEL_MEAN'],
  ['OPTIM: sgd', 'OPTIM: expected a section'],
  ['TEST: {FINAL_MODEL: best_val}', 'TEST.FINAL_MODEL'],
  ['TRAINER: {NAME: ProGrad}', 'TRAINER.NAME: expected CoOp'],
  ['TRAINER: {MAPLE: {N_CTX: 2}}', 'of the trainers only COOP and COCOOP are here'],
  ['TRAINER: {COOP: {N_CTXS: 2}}', 'unknown key TRAINER.COOP.N_CTXS'],
  [`OPTIM: {${SGD}}`, 'does not say which trainer'],
  ['OPTIM: {NAME: sgd', 'is not YAML'],
  ['- 1', 'expected a YAML mapping'],
])('the file %s is refused by name', (text, message) => {
  expect(() => parse(['--config', file('bad.yaml', text)])).toThrow(refusal(message))
})

test('the nearest key is named; --set is held to the same', () => {
  expect(() => parse(['--set', 'OPTIM.MAX_EPOCHS=5'])).toThrow(
    refusal('--set: unknown key', 'Did you mean OPTIM.MAX_EPOCH?'),
  )
  expect(() => parse(['--set', 'constructor=1'])).toThrow(refusal('--set: unknown key constructor'))
  expect(parse(['--set', 'DATASET.NAME=constructor']).options.data).toBe('constructor')
  expect(() => parse(['--set', 'OPTIM.MAX_EPOCH'])).toThrow(refusal('expected KEY=VALUE'))
  expect(() => parse(['--set', 'TRAINER.COOP.N_CTX=4', '--method', 'cocoop'])).toThrow(refusal('the method is cocoop'))
  expect(() => parse(['--set', 'OPTIM.LR_SCHEDULER=multi_step'])).toThrow(refusal('OPTIM.LR_SCHEDULER'))
  // The warm-up is a preset's or the default: its kind counts.
  expect(() => parse(['--set', 'OPTIM.WARMUP_TYPE=linear'])).toThrow(refusal('OPTIM.WARMUP_TYPE'))
  const none = ['--set', 'OPTIM.WARMUP_TYPE=linear', '--set', 'OPTIM.WARMUP_EPOCH=-1']
  expect(parse(none).options).toMatchObject({ warmup_epochs: 0 })
})

test('what changes nothing but is not as there is said: half precision, a number beside words, a seed of none', () => {
  const text = `SEED: -1\nOPTIM: {${SGD}}\nTRAINER:\n  COCOOP: {N_CTX: 16, CTX_INIT: a photo of a, PREC: fp16}\n`
  const { options, notes } = parse(['--config', file('notes.yaml', text), '--data', 'x'])
  expect(options).toMatchObject({ method: 'cocoop', ctx_init: 'a photo of a', seed: 1 })
  expect(options.n_ctx).toBeUndefined()
  expect(notes.sort()).toEqual([
    expect.stringContaining('SEED is -1'),
    expect.stringContaining('N_CTX 16 has no effect beside CTX_INIT'),
    expect.stringContaining('PREC is fp16: this engine computes in f32'),
  ])
})

test('the zero-shot trainers take the templates of the data set', () => {
  const data = file('pets.yaml', 'DATASET: {NAME: OxfordPets}')
  const args = ['--config', data, '--set']
  expect(parse([...args, 'TRAINER.NAME=ZeroshotCLIP']).options).toMatchObject({
    method: 'zero-shot',
    templates: ['dataset:oxford_pets'],
  })
  expect(parse([...args, 'TRAINER.NAME=ZeroshotCLIP2']).options).toMatchObject({
    templates: ['imagenet-7', 'dataset:oxford_pets'],
  })
})

type Info = EngineModel['info']
const vit = (layers: number, width: number, patch_size: number, image_size: number) =>
  ({ image_size, vision: { kind: 'vit', layers, width, patch_size } }) as Info
const RN50 = { image_size: 224, vision: { kind: 'resnet', layers: [3, 4, 6, 3], width: 64 } } as unknown as Info

test('a model is known by its shape, and a preset for another is refused unless any will do', () => {
  expect(backboneOf(RN50)).toBe('RN50')
  expect(backboneOf(vit(12, 768, 16, 224))).toBe('ViT-B/16')
  expect(backboneOf(vit(24, 1024, 14, 336))).toBe('ViT-L/14@336px')
  expect(backboneOf(vit(6, 192, 16, 64))).toBeUndefined()
  const expected = { preset: 'rn50', backbone: 'RN50' }
  expect(() => checkBackbone(expected, 'mine', RN50)).not.toThrow()
  expect(() => checkBackbone(expected, 'mine', vit(12, 768, 32, 224))).toThrow(
    expect.objectContaining({
      code: 'model_mismatch',
      message: 'the preset rn50 is for RN50, the model mine is ViT-B/32',
      hint: expect.stringMatching(/--model timm\/resnet50_clip\.openai .*--any-backbone/),
    }),
  )
  expect(() => checkBackbone({ image_size: 224 }, 'mine', vit(24, 1024, 14, 336))).toThrow(
    expect.objectContaining({ message: expect.stringContaining('are 336 x 336, expected 224 x 224') }),
  )
  expect(() =>
    checkBackbone({ ...expected, image_size: 1, any_backbone: true }, 'x', vit(6, 192, 16, 64)),
  ).not.toThrow()
})
