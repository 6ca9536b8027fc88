/** `Files` of a folder on disk. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { byCodePoint, type Files } from './dataset.ts'

export function diskFiles(root: string): Files {
  // A link counts as what it leads to: `dataset import --link` makes a set of links.
  const entries = async (folder: string, wanted: 'isFile' | 'isDirectory') => {
    const found = await readdir(join(root, folder), { withFileTypes: true })
    const fits = await Promise.all(
      found.map(async (entry) =>
        entry.isSymbolicLink() ? kindOf(join(root, folder, entry.name), wanted) : entry[wanted](),
      ),
    )
    return found
      .filter((_, i) => fits[i])
      .map(({ name }) => name)
      .sort(byCodePoint)
  }
  return {
    root,
    files: (folder) => entries(folder, 'isFile'),
    folders: (folder) => entries(folder, 'isDirectory'),
    has: (path) => kindOf(join(root, path), 'isFile'),
    read: (path) => readFile(join(root, path)),
  }
}

/** Whether there is a file, or a folder, at `path`. */
export async function kindOf(path: string, wanted: 'isFile' | 'isDirectory'): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.[wanted]() === true
}
