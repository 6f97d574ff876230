import { Writable } from 'node:stream';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { createClosing } from './closing.ts';

const log = pino({ level: 'silent' });

it('closes in the reverse order, one after the other, and each only once', async () => {
  const closed: string[] = [];
  const closing = createClosing(log);
  for (const name of ['first', 'second', 'third'])
    closing.add(name, async () => {
      await new Promise((resolve) => setImmediate(resolve));
      closed.push(name);
    });
  await closing.run(new AbortController().signal);
  await closing.run(new AbortController().signal);
  expect(closed).toEqual(['third', 'second', 'first']);
});

it('goes on after a step that fails, and after one that does not end', async () => {
  const closed: string[] = [];
  const closing = createClosing(log);
  closing.add('last', () => closed.push('last'));
  closing.add('endless', () => new Promise(() => undefined));
  closing.add('failing', () => {
    throw new Error('no');
  });
  await closing.run(AbortSignal.timeout(10));
  expect(closed).toEqual(['last']);
});

/** Log lines as they come. */
function readLog() {
  const lines: { msg: string; left?: string[] }[] = [];
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)));
      done();
    },
  });
  return { lines, log: pino(sink) };
}

it('says what it did not wait for', async () => {
  const { lines, log: read } = readLog();
  const closing = createClosing(read);
  closing.add('quick', () => undefined);
  closing.add('webhook', () => new Promise(() => undefined));
  closing.add('stream', () => new Promise(() => undefined));
  await closing.run(AbortSignal.timeout(10));
  expect(lines.map(({ left }) => left)).toEqual([['stream', 'webhook']]);
});

it('leaves time for others after a step that does not end', async () => {
  const closed: string[] = [];
  const { lines, log: read } = readLog();
  const closing = createClosing(read, 20);
  closing.add('database', async (deadline) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (!deadline.aborted) closed.push('database');
  });
  closing.add('webhook', () => new Promise(() => undefined));
  await closing.run(new AbortController().signal);
  expect(closed).toEqual(['database']);
  expect(lines.map(({ left }) => left)).toEqual([['webhook']]);
});
