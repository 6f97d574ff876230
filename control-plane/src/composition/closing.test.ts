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
