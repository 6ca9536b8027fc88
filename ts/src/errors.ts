/** The project's one error class and the one list of its words: those of Rust's `Error::code`, then those of TypeScript and HTTP. */

/** Every word with the HTTP status it is answered with and the title of its problem. Words are added, never renamed. */
export const ERRORS = {
  // crates/base/src/error.rs
  bad_shape: { status: 422, title: 'A tensor has the wrong shape' },
  bad_dtype: { status: 422, title: 'A tensor has the wrong type' },
  missing_tensor: { status: 422, title: 'A tensor is missing' },
  not_finite: { status: 422, title: 'A tensor holds NaN or infinity' },
  bad_safetensors: { status: 422, title: 'Not a readable safetensors file' },
  bad_model: { status: 422, title: 'The model cannot be used' },
  bad_bundle: { status: 422, title: 'The bundle cannot be used' },
  bad_pack: { status: 422, title: 'The model pack cannot be used' },
  missing_tower: { status: 422, title: 'The model has no such tower' },
  hash_mismatch: { status: 500, title: 'Stored bytes are not those that were written' },
  out_of_memory_budget: { status: 500, title: 'The model does not fit in the memory it may take' },
  model_mismatch: { status: 422, title: 'The bundle was made for another model' },
  bad_label: { status: 422, title: 'A label is outside the classes' },
  bad_image: { status: 422, title: 'The image cannot be decoded' },
  image_too_large: { status: 413, title: 'The image is larger than the limit' },
  unsupported_image: { status: 415, title: 'Not a PNG, JPEG, WebP or GIF image' },
  bad_classes: { status: 422, title: 'The class names cannot be used' },
  bad_text: { status: 422, title: 'The text cannot be used' },
  text_too_long: { status: 422, title: "The text is longer than the model's context" },
  bad_option: { status: 422, title: 'An option has a value that cannot be used' },
  too_few_images: { status: 422, title: 'A class has too few images' },
  bad_checkpoint: { status: 422, title: 'The checkpoint cannot be used' },
  diverged: { status: 422, title: 'Training diverged' },
  cancelled: { status: 503, title: 'Stopped before it was done' },
  io: { status: 500, title: 'Reading or writing failed' },
  // TypeScript and HTTP
  bad_request: { status: 400, title: 'The request cannot be read' },
  unauthorized: { status: 401, title: 'The admin key is missing or wrong' },
  not_found: { status: 404, title: 'There is no such page' },
  bundle_not_found: { status: 404, title: 'There is no such bundle' },
  method_not_allowed: { status: 405, title: 'The method is not allowed here' },
  too_large: { status: 413, title: 'The body is larger than the limit' },
  unsupported_media: { status: 415, title: 'The content type is not one of those accepted' },
  probe_failed: { status: 422, title: 'The bundle does not give its probe logits here' },
  usage: { status: 400, title: 'The command line cannot be used' },
  bad_data: { status: 422, title: 'The data set cannot be used' },
  overloaded: { status: 503, title: 'Too many requests are waiting' },
  model_not_found: { status: 503, title: 'The model is not in the store' },
  store_unavailable: { status: 503, title: 'The store does not answer' },
  bad_store: { status: 500, title: 'The store holds something unreadable' },
  disposed: { status: 500, title: 'Used after it was disposed' },
  no_addon: { status: 500, title: 'The native addon is not available' },
  engine_failed: { status: 500, title: 'The engine stopped' },
  internal: { status: 500, title: 'A fault of the program' },
} as const satisfies Record<string, { status: number; title: string }>

export type ErrorCode = keyof typeof ERRORS

const brand = Symbol.for('cocoop.error')

/** Thrown for everything that can go wrong with input from outside; `code` is the same word here, in Rust and over HTTP. */
export class CocoopError extends Error {
  override readonly name = 'CocoopError'
  readonly [brand] = true
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }

  /** The HTTP status of this error's word. */
  get status(): (typeof ERRORS)[ErrorCode]['status'] {
    return ERRORS[this.code].status
  }

  /** True also across two copies of this package, where `instanceof` is false. */
  static is(value: unknown): value is CocoopError {
    return typeof value === 'object' && value !== null && brand in value
  }

  /** The error itself if it is one of ours or carries one of our words (as the doors' do), else `undefined`. */
  static from(value: unknown): CocoopError | undefined {
    if (CocoopError.is(value)) return value
    if (!(value instanceof Error) || !('code' in value) || !isErrorCode(value.code)) return undefined
    return new CocoopError(value.code, value.message, { cause: value })
  }
}

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERRORS, value)
}

/** Throws `cancelled` when `signal` is aborted, with the signal's reason as the cause: first line of every async call. */
export function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new CocoopError('cancelled', 'cancelled', { cause: signal.reason })
}

/** The message of whatever was thrown. */
export function messageOf(value: unknown): string {
  return value instanceof Error ? value.message : String(value)
}
