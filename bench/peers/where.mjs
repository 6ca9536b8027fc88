/** Where the benches with peers keep their models and images, and which they are. */
import { resolve } from 'node:path'

export const folder = resolve(process.env.COCOOP_BENCH_DIR ?? resolve(import.meta.dirname, '../../target/bench'))
export const MODELS = { 'vit-b-32': 'ViT-B/32', 'vit-b-16': 'ViT-B/16' }
export const PACK_BITS = [32, 8, 4]
/** Synthetic photographs, as many, for decoding and augmentation. */
export const PHOTOS = { folder: resolve(folder, 'photos'), count: 64 }
