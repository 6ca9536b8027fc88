/** `Files` of a folder on disk. */
import { open, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Files, PEEK_HEAD, PEEK_TAIL, type Peek, sortByCodePoint } from './dataset.ts'

export function diskFiles(root: string): Files {
  // A link counts as what it leads to: `dataset import --link` makes a set of links. Nothing else is asked of the disk file by file.
  const entries = async (folder: string, wanted: 'isFile' | 'isDirectory') => {
    const names: string[] = []
    for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
      const fits = entry.isSymbolicLink() ? await kindOf(join(root, folder, entry.name), wanted) : entry[wanted]()
      if (fits) names.push(entry.name)
    }
    return sortByCodePoint(names)
  }
  return {
    root,
    files: (folder) => entries(folder, 'isFile'),
    folders: (folder) => entries(folder, 'isDirectory'),
    has: (path) => kindOf(join(root, path), 'isFile'),
    read: (path) => readFile(join(root, path)),
    peek: (path) => peekAt(join(root, path)),
  }
}

/** Whether there is a file, or a folder, at `path`. */
export async function kindOf(path: string, wanted: 'isFile' | 'isDirectory'): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.[wanted]() === true
}

async function peekAt(path: string): Promise<Peek> {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const part = async (start: number, length: number) => {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, start)
      return buffer.subarray(0, bytesRead)
    }
    const tail = Math.max(0, size - PEEK_TAIL)
    return { size, head: await part(0, Math.min(size, PEEK_HEAD)), tail: await part(tail, size - tail) }
  } finally {
    await file.close()
  }
}
