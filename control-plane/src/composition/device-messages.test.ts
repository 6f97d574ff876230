import { AppError } from '@edgeloop/shared/errors';
import { pino } from 'pino';
import { beforeEach, expect, it } from 'vitest';
import { readPayload } from '../telemetry/payload.ts';
import { createDeviceMessages } from './device-messages.ts';

let happened: string[];
let stored: boolean;
let crowded: boolean;
let full: boolean;
/** Makes room. */
let free: () => void;
let room: Promise<void>;
beforeEach(() => {
  happened = [];
  stored = true;
  crowded = false;
  full = false;
  room = new Promise((resolve) => {
    free = resolve;
  });
});

const handle = createDeviceMessages({
  onReported: async (id) => void happened.push(`reported ${id}`),
  onPresence: async (id, { status }) => {
    if (full) throw new AppError('insufficient_storage', 'no space');
    happened.push(`${status} ${id}`);
  },
  writable: () => room,
  accepts: ['gzip'],
  malformed: ({ channel, reason }) => void happened.push(`${channel}: ${reason}`),
  ingest: async (_id, payload) => {
    if (!stored) throw new Error('disk full');
    if (crowded) throw new AppError('unavailable', 'too much waits');
    const batch = readPayload(payload);
    happened.push(`stored ${batch.items.length}`);
    return { epoch: batch.epoch, sequence: batch.items.at(-1)?.sequence ?? 0 };
  },
  acknowledge: async (id, ack) => void happened.push(`ack ${id} ${ack.sequence} ${ack.accepts}`),
  answerClock: async (id, sentAt) => void happened.push(`clock ${id} ${sentAt}`),
  count: (channel, outcome) => void happened.push(`${channel} ${outcome}`),
  log: pino({ level: 'silent' }),
});

const batch = {
  epoch: 1,
  items: [4, 5].map((sequence) => ({ sequence, item: { kind: 'loss', windows: 0, requests: 0, labels: 0 } })),
};
const send = (channel: Parameters<typeof handle>[0]['channel'], body: unknown) =>
  handle({ deviceId: 'cam', channel, payload: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)) });

it('acknowledges telemetry after it was stored', async () => {
  await send('telemetry', batch);
  expect(happened).toEqual(['stored 2', 'ack cam 5 gzip', 'telemetry handled']);
});

it('counts what is refused since too much waits, and does not acknowledge it', async () => {
  crowded = true;
  await send('telemetry', batch);
  expect(happened).toEqual(['telemetry refused']);
});

it('acknowledges nothing that could not be stored', async () => {
  stored = false;
  await send('telemetry', batch);
  expect(happened).toEqual(['telemetry failed']);
});

it('passes on presence, and leaves what it cannot understand', async () => {
  await send('presence', { status: 'online', session: 's', later: 'unknown key' });
  await send('presence', { status: 'asleep', session: 's' });
  await send('reported', 'no json');
  await send('desired', {});
  await send('telemetry', { epoch: 1, items: [] });
  expect(happened.map((each) => each.split(' is ')[0])).toEqual([
    ...['online cam', 'presence handled', 'presence malformed', 'presence: presence'],
    ...['reported malformed', 'reported: reported', 'telemetry malformed', 'telemetry: telemetry'],
  ]);
});

it('stores a device’s last word about itself when there is room, and none before it', async () => {
  full = true;
  await send('presence', { status: 'online', session: 's' });
  await send('presence', { status: 'offline', session: 's' });
  expect(happened).toEqual(['presence failed', 'presence failed']);
  full = false;
  free();
  await expect.poll(() => happened.slice(2)).toEqual(['offline cam', 'presence handled']);
});

it('forgets what waited for room when a newer word was stored', async () => {
  full = true;
  await send('presence', { status: 'online', session: 's' });
  full = false;
  await send('presence', { status: 'offline', session: 's' });
  free();
  await new Promise((resolve) => setImmediate(resolve));
  expect(happened).toEqual(['presence failed', 'offline cam', 'presence handled']);
});

it('answers a device that tells its clock before its presence is stored', async () => {
  const presence = { status: 'online', session: 's', sentAt: 7 };
  await handle({ deviceId: 'd', channel: 'presence', payload: Buffer.from(JSON.stringify(presence)) });
  expect(happened).toEqual(['clock d 7', 'online d', 'presence handled']);
});
