/** `cocoop/onnx` for Node.js: {@link createOnnxEngine} over onnxruntime-node or onnxruntime-web, and folders of exported graphs. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CocoopError, messageOf } from './errors.ts'
import { wasmEngine } from './node.ts'
import { OnnxEngine, type OnnxEngineOptions, type OnnxFiles, openExport } from './onnx.ts'

export * from './onnx.ts'

/** An engine over the runtime that is handed in. */
export async function createOnnxEngine(options: OnnxEngineOptions): Promise<OnnxEngine> {
  return new OnnxEngine(await wasmEngine(), options)
}

/**
 * What `cocoop-train export-onnx` wrote into `folder`. A graph is read when it is first used; one whose values stand in a
 * second file is found by onnxruntime-node alone.
 * @throws CocoopError `io`, `bad_model`
 */
export async function openOnnx(folder: string): Promise<OnnxFiles> {
  const path = join(folder, 'onnx.json')
  try {
    const manifest = await readFile(path, 'utf8')
    return openExport(manifest, (name, outside) => (outside ? join(folder, name) : () => read(join(folder, name))))
  } catch (cause) {
    throw ioError(path, cause)
  }
}

async function read(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (cause) {
    throw ioError(path, cause)
  }
}

function ioError(path: string, cause: unknown): CocoopError {
  return CocoopError.is(cause) ? cause : new CocoopError('io', `${path}: ${messageOf(cause)}`, { cause })
}
