import { expect, it } from 'vitest';
import { createEventHub } from './events.ts';

const decoder = new TextDecoder();

it('sends each event with its type as name and the whole event as data', async () => {
  const hub = createEventHub({ now: () => 5 });
  const reader = hub.subscribe('key').getReader();
  await reader.read();
  hub.notify({ type: 'device', id: 'cam', state: 'online' });
  const { value } = await reader.read();
  expect(decoder.decode(value)).toBe('event: device\ndata: {"type":"device","id":"cam","state":"online","at":5}\n\n');
});

it('cuts off a client that does not read, and only that one', async () => {
  const hub = createEventHub({ now: () => 0 });
  hub.subscribe('key');
  const quick = hub.subscribe('key').getReader();
  for (let i = 0; i < 1500; i++) {
    hub.notify({ type: 'device', id: `d${i}`, state: 'online' });
    await quick.read();
  }
  expect(hub.clients()).toBe(1);
});

it('forgets a client that goes, and ends the others when it closes', async () => {
  const hub = createEventHub({ now: () => 0 });
  const gone = hub.subscribe('key').getReader();
  const left = hub.subscribe('key').getReader();
  await gone.cancel();
  expect(hub.clients()).toBe(1);
  await left.read();
  hub.close();
  expect((await left.read()).done).toBe(true);
});

it('ends the streams of a key that is revoked, and opens none with it', async () => {
  const hub = createEventHub({ now: () => 0 });
  const revoked = hub.subscribe('one').getReader();
  hub.subscribe('two');
  await revoked.read();
  hub.revoke('one');
  expect((await revoked.read()).done).toBe(true);
  expect(hub.clients()).toBe(1);
  expect(() => hub.subscribe('one')).toThrow(expect.objectContaining({ code: 'unauthorized' }));
});
