import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { Channel, Decoder, encode, type Message, packed, stop, unpacked } from './channel.ts'

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

/** Both ends of a connection. */
async function sockets(): Promise<[Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const there = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [here] = (await once(server, 'connection')) as [Socket]
  closing.push(() => {
    server.close()
    here.destroy()
    there.destroy()
  })
  return [here, there]
}

const never = new AbortController().signal

test('messages come whole however the bytes are cut', () => {
  const values = Float32Array.of(1, -2.5, 3e-9)
  const bytes = Buffer.concat([
    encode({ kind: 'part', correct: 2 }, packed({ gradient: values, loss: Number.NaN })),
    encode({ kind: 'alive' }),
    encode({ kind: 'sum' }, new Uint8Array(100_000).fill(7)),
  ])
  for (const size of [1, 3, 7, 64, 65_536, bytes.length]) {
    const decoder = new Decoder()
    const messages: Message[] = []
    for (let at = 0; at < bytes.length; at += size) messages.push(...decoder.push(bytes.subarray(at, at + size)))
    expect(messages.map(({ head }) => head)).toEqual([{ kind: 'part', correct: 2 }, { kind: 'alive' }, { kind: 'sum' }])
    expect(unpacked(messages[0]!, 3)).toEqual({ gradient: values, loss: Number.NaN })
    expect(messages[2]!.body.length).toBe(100_000)
    expect(() => unpacked(messages[2]!, 3)).toThrow(expect.objectContaining({ code: 'bad_request' }))
  }
})

test.each([
  ['the lengths of nothing that we send', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
  ['a head that is not JSON', Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{}{')])],
  ['a head without a kind', Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{}')])],
])('%s is refused', (_, bytes) => {
  expect(() => new Decoder().push(bytes)).toThrow(expect.objectContaining({ code: 'bad_request' }))
})

test('what was sent arrives in order, and then why the other side stopped', async () => {
  const [here, there] = await sockets()
  const [a, b] = [new Channel(here, 'rank 1', 60_000), new Channel(there, 'rank 0', 60_000)]
  a.send({ kind: 'start' }, Uint8Array.of(1, 2))
  a.send({ kind: 'sum' })
  expect((await b.next(['start'], never)).body).toEqual(Uint8Array.of(1, 2))
  await expect(b.next(['start'], never)).rejects.toMatchObject({ code: 'bad_request' })
  const waiting = expect(b.next(['sum'], never)).rejects.toMatchObject({
    code: 'diverged',
    message: 'rank 0: the loss is NaN',
  })
  await a.end(stop('diverged', 'the loss is NaN'))
  await waiting
  expect(b.ended.aborted && a.ended.aborted).toBe(true)
})

test('a side that goes away, is silent or is cut off is lost; waiting can be given up', async () => {
  const [here, there] = await sockets()
  const a = new Channel(here, 'rank 1', 60_000)
  there.destroy()
  await expect(a.next(['part'], never)).rejects.toMatchObject({ code: 'rank_lost', message: /rank 1/ })

  const [silent] = await sockets()
  const b = new Channel(silent, 'rank 2', 500)
  await expect(b.next(['part'], never)).rejects.toMatchObject({ code: 'rank_lost', message: /said nothing/ })

  const [one, other] = await sockets()
  const c = new Channel(one, 'rank 3', 3000)
  const d = new Channel(other, 'rank 0', 3000) // says that it is alive, and nothing else
  const enough = AbortSignal.timeout(5000)
  await expect(c.next(['part'], enough)).rejects.toThrow(enough.reason)
  await Promise.all([c.end(), d.end()])
}, 20_000)
