/** What every entry of the package exports, whichever door stands behind it. */
export type { Classification, LoadOptions, Prediction } from './classifier.ts'
export { rank } from './classifier.ts'
export type {
  Bytes,
  CallOptions,
  Embedded,
  Engine,
  EngineClassifier,
  EngineModel,
  LoadModelOptions,
  ModelFiles,
  Scores,
  TextOptions,
} from './engine.ts'
export { CocoopError, ERRORS, type ErrorCode, isErrorCode, messageOf, throwIfCancelled } from './errors.ts'
export { sha256 } from './hash.ts'
export { Pack } from './pack.ts'
export * from './schemas.ts'
export * from './store.ts'
export { HttpStore } from './stores/http.ts'
export { ALIAS_TTL_SECONDS, type KvNamespace, KvStore } from './stores/kv.ts'
export { MemoryStore } from './stores/memory.ts'
export { parseTemplate, TEMPLATE_SETS, templateSet } from './templates.ts'
