import { expect, test } from 'vitest'
import { Countdown, formatBytes, formatDuration, formatRate, Meter } from './progress.ts'
import { type Stream, Terminal } from './terminal.ts'

test('the live line tells epoch, batch, loss, rate and time left', () => {
  let now = 0
  const meter = new Meter({ epochs: 10, batches: 160, batch_size: 1, n_train: 160, parameters: 1 }, () => now)
  now = 500
  meter.line({ epoch: 1, batch: 1, loss: 2, lr: 0.00001, correct: 0, images: 100 })
  now = 1000
  const line = meter.line({ epoch: 3, batch: 60, loss: 1, lr: 0.002, correct: 1, images: 100 })
  // (7 epochs of 160 batches + 100) of 100 images at 200 images/s
  expect(line).toBe('epoch 3/10  batch  60/160  loss 1.9000  lr 2.00e-3  200 images/s  ETA 10:10')
})

test('the rate forgets what is long past', () => {
  let now = 0
  const meter = new Meter({ epochs: 1, batches: 1000, batch_size: 1, n_train: 1000, parameters: 1 }, () => now)
  for (let batch = 1; batch <= 30; batch++) {
    now += batch <= 10 ? 10_000 : 1000
    meter.line({ epoch: 1, batch, loss: 1, lr: 1, correct: 0, images: 10 })
  }
  expect(meter.rate()).toBeCloseTo(10)
})

test('a countdown counts from where the work began', () => {
  let now = 1000
  const countdown = new Countdown(1600, () => now)
  expect(countdown.line(600)).toBe('600/1600  ETA --:--') // these were there before
  now = 3000
  expect(countdown.line(800)).toBe('800/1600  ETA 0:08')
})

test.each([
  [0, '0:00'],
  [59.6, '1:00'],
  [754, '12:34'],
  [3600, '1:00:00'],
])('%d s is %s', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text)
})

test('rates and bytes have as many digits as they deserve', () => {
  expect([0.123, 4.56, 99.6, 412.3].map(formatRate)).toEqual(['0.12', '4.6', '100', '412'])
  expect([0, 999, 1500, 12_300_000].map(formatBytes)).toEqual(['0 B', '999 B', '1.5 kB', '12.3 MB'])
})

function recorder(isTTY: boolean): Stream & { text: string } {
  return {
    isTTY,
    columns: 40,
    text: '',
    write(text: string) {
      this.text += text
    },
  }
}

test('a terminal keeps the live line below what is logged', () => {
  const stream = recorder(true)
  const terminal = new Terminal(stream, false, () => 0)
  terminal.status('working')
  terminal.log('note')
  terminal.settle('done')
  expect(stream.text).toBe('\r\u001b[2Kworking\r\u001b[2Knote\nworking\r\u001b[2Kdone\n')
})

test('the live line is cut to the width', () => {
  const stream = recorder(true)
  new Terminal(stream, false, () => 0).status('x'.repeat(100))
  expect(stream.text).toBe(`\r\u001b[2K${'x'.repeat(39)}`)
})

test('without a TTY there is a plain line every five seconds', () => {
  const stream = recorder(false)
  let now = 0
  const terminal = new Terminal(stream, false, () => now)
  for (; now <= 12_000; now += 100) terminal.status(`at ${now}`)
  expect(stream.text).toBe('at 5000\nat 10000\n')
})

test('--quiet leaves warnings; the log of a run has all lines', () => {
  const stream = recorder(false)
  const lines: string[] = []
  const terminal = new Terminal(stream, true, () => 0)
  const untee = terminal.tee((line) => lines.push(line))
  terminal.status('working')
  terminal.log('note')
  terminal.warn('careful')
  untee()
  terminal.log('later')
  expect(stream.text).toBe('warning: careful\n')
  expect(lines).toEqual(['note', 'warning: careful'])
})
