/** `cocoop/onnx` for browsers: {@link createOnnxEngine} over onnxruntime-web, and exported graphs by their URL. */
import { createEngine, type EngineOptions } from './browser.ts'
import { CocoopError, messageOf } from './errors.ts'
import { OnnxEngine, type OnnxEngineOptions, type OnnxFiles, openExport } from './onnx.ts'

export * from './onnx.ts'

/** An engine over the runtime that is handed in; `urls` as of {@link createEngine}. */
export async function createOnnxEngine({ urls, ...options }: OnnxEngineOptions & EngineOptions): Promise<OnnxEngine> {
  return new OnnxEngine(await createEngine(urls && { urls }), options)
}

/**
 * What `cocoop-train export-onnx` wrote, served under `folder`; the runtime fetches the graphs itself.
 * @throws CocoopError `io`, `bad_model`
 */
export async function openOnnx(folder: string | URL): Promise<OnnxFiles> {
  const base = new URL(`${folder}`.replace(/\/?$/, '/'), globalThis.location?.href)
  const url = new URL('onnx.json', base)
  try {
    const response = await fetch(url)
    if (!response.ok) throw new Error(`HTTP ${response.status}`)
    return openExport(await response.text(), (name) => new URL(name, base).href)
  } catch (cause) {
    throw CocoopError.is(cause) ? cause : new CocoopError('io', `${url}: ${messageOf(cause)}`, { cause })
  }
}
