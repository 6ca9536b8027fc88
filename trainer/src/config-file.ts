/** A file of options: JSON, or YAML by its ending; this project's (`n_ctx: 4`), or the original trainers' (`OPTIM: {LR: 0.002}`). */
import { readFileSync } from 'node:fs'
import { extname } from 'node:path'
import { parse, YAMLParseError } from 'yaml'
import { TrainError } from './errors.ts'

export interface ConfigFile {
  file: string
  content: Record<string, unknown>
}

/** @throws TrainError `usage` for what is neither a JSON object nor a YAML mapping; Node's error where there is no file */
export function readConfigFile(file: string): ConfigFile {
  const text = readFileSync(file, 'utf8')
  const yaml = ['.yaml', '.yml'].includes(extname(file).toLowerCase())
  const content = yaml ? parseYaml(text, file) : parseJson(text, file)
  if (typeof content === 'object' && content !== null && !Array.isArray(content))
    return { file, content: content as Record<string, unknown> }
  throw new TrainError('usage', `${file}: expected ${yaml ? 'a YAML mapping' : 'a JSON object'}`)
}

/** Whether a file is the original trainers': their keys are in capitals, this project's are not. */
export function isOriginal({ content }: ConfigFile): boolean {
  const keys = Object.keys(content)
  return keys.length > 0 && keys.every((key) => /^[A-Z][A-Z0-9_]*$/.test(key))
}

/** @throws TrainError `usage` with line and column */
export function parseYaml(text: string, where: string): unknown {
  try {
    return parse(text)
  } catch (cause) {
    if (!(cause instanceof YAMLParseError)) throw cause
    throw new TrainError('usage', `${where} is not YAML: ${cause.message.split('\n')[0]?.replace(/:$/, '')}`)
  }
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause
    throw new TrainError('usage', `${where} is not JSON: ${cause.message}`)
  }
}
