import { describe, expect, it } from 'vitest'
import { CocoopError, ERRORS, isErrorCode, throwIfCancelled } from './errors.ts'
import { nativeEngine, wasmEngine } from './node.ts'

describe('the list of words', () => {
  it('holds every word of Rust, as the addon tells them', async () => {
    const words = (await nativeEngine()).errorCodes()
    expect(words.length).toBeGreaterThanOrEqual(20)
    expect(words.filter((word) => !isErrorCode(word))).toEqual([])
    expect((await wasmEngine()).errorCodes()).toEqual(words)
  })

  it('has statuses that HTTP knows and a title each', () => {
    for (const [code, { status, title }] of Object.entries(ERRORS)) {
      expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/)
      expect(status, code).toBeGreaterThanOrEqual(400)
      expect(status, code).toBeLessThan(600)
      expect(title, code).not.toBe('')
    }
  })
})

describe('CocoopError', () => {
  it('is known across two copies of the package', () => {
    const twin = Object.assign(new Error('x'), { [Symbol.for('cocoop.error')]: true })
    expect(CocoopError.is(twin)).toBe(true)
    expect(CocoopError.is(new Error('x'))).toBe(false)
    expect(CocoopError.is(null)).toBe(false)
  })

  it('takes over the errors of the doors, and no others', () => {
    const error = CocoopError.from(Object.assign(new Error('label 3'), { code: 'bad_label' }))
    expect(error).toMatchObject({ code: 'bad_label', message: 'label 3', status: 422 })
    expect(CocoopError.from(Object.assign(new Error('x'), { code: 'ENOENT' }))).toBeUndefined()
    expect(CocoopError.from(Object.assign(new Error('x'), { code: 'toString' }))).toBeUndefined()
    expect(CocoopError.from('bad_label')).toBeUndefined()
  })

  it('says `cancelled` for an aborted signal, with its reason', () => {
    expect(() => throwIfCancelled(undefined)).not.toThrow()
    expect(() => throwIfCancelled(AbortSignal.abort('why'))).toThrow(
      expect.objectContaining({ code: 'cancelled', cause: 'why' }),
    )
  })
})
