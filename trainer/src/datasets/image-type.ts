/** What kind of image a file is, by its first bytes. Whether it can be decoded, the engine says. */

/** The ending of such a file's name; `undefined` for what is no image that the engine reads. */
export function imageType(head: Uint8Array): 'png' | 'jpg' | 'gif' | 'webp' | undefined {
  const text = Buffer.from(head.subarray(0, 12)).toString('latin1')
  if (text.startsWith('\x89PNG')) return 'png'
  if (text.startsWith('\xff\xd8\xff')) return 'jpg'
  if (text.startsWith('GIF8')) return 'gif'
  return text.startsWith('RIFF') && text.endsWith('WEBP') ? 'webp' : undefined
}
