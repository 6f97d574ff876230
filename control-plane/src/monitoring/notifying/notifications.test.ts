import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { text } from 'node:stream/consumers';
import { AlertRuleSpec } from '@edgeloop/shared/api/alert-rules';
import { Alert } from '@edgeloop/shared/api/alerts';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { openTelemetry } from '../../telemetry/telemetry-fixture.ts';
import { alertOf } from '../alerts/alert-fixture.ts';
import { type AlertRecord, type AlertStore, createAlertStore } from '../alerts/alert-store.ts';
import { createRulesStore } from '../alerts/rules-store.ts';
import { createSilences } from '../alerts/silences.ts';
import { createChannelStore } from './channel-store.ts';
import { createDestinations } from './destinations.ts';
import { createNotifications } from './notifications.ts';
import { createSender } from './sender.ts';
import { createWebhookSecret, signaturesOf } from './webhook.ts';

const Message = z.object({
  group: z.object({ model: z.literal('m'), kind: z.literal('drift') }),
  alerts: z.array(Alert),
});

const secret = createWebhookSecret();
let room: ReturnType<typeof openTelemetry>;
let alertStore: AlertStore;
let notifications: ReturnType<typeof createNotifications>;
let received: { path: string; told: string[] }[];
let signed: { path: string; headers: IncomingHttpHeaders; body: string }[];
/** Answers with a failure on these paths. */
let broken: Set<string>;
let server: Server;

beforeEach(async () => {
  room = openTelemetry();
  received = [];
  signed = [];
  broken = new Set();
  server = createServer(async (request, response) => {
    const path = request.url ?? '';
    const body = await text(request);
    const { alerts } = Message.parse(JSON.parse(body));
    signed.push({ path, headers: request.headers, body });
    received.push({ path, told: alerts.map(({ id, status }) => `${id} ${status}`) });
    response.writeHead(broken.has(path) ? 503 : 204).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  alertStore = createAlertStore(room.database);
  notifications = build();
  const rulesStore = createRulesStore(room.database);
  const channelStore = createChannelStore(room.database);
  const spec = AlertRuleSpec.parse({ kind: 'drift', model: 'm', channels: ['one', 'two'] });
  await room.database.transact(async (tx) => {
    for (const name of ['one', 'two', 'unused']) {
      await channelStore.insertChannel(tx, {
        id: name,
        createdAt: 0,
        spec: { name, kind: 'webhook', url: `${address()}/${name}` },
        ...{ secret: name === 'two' ? null : secret, previousSecret: null, previousSecretUntil: null },
      });
    }
    await rulesStore.insertRule(tx, { id: 'r', createdAt: 0, spec });
  });
});
afterEach(async () => {
  await notifications.close();
  await new Promise((resolve) => server.close(resolve));
  await room.close();
});

function address(): string {
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the server is not listening');
  return `http://127.0.0.1:${bound.port}`;
}
function build() {
  const { database, clock } = room;
  const log = pino({ level: 'silent' });
  const channelStore = createChannelStore(database);
  const deps = { database, alertStore, channelStore, now: clock.now, log };
  return createNotifications({
    ...deps,
    rules: createRulesStore(database).rules,
    silences: createSilences({ database, now: clock.now }).active,
    deviceLabels: async () => new Map(),
    send: createSender({ ...deps, destinations: createDestinations(['127.0.0.1']) }),
  });
}
async function insert(...alerts: AlertRecord[]): Promise<void> {
  await room.database.transact(async (tx) => {
    for (const alert of alerts) await alertStore.insertAlert(tx, alert);
  });
}
async function resolveAlert(id: string): Promise<void> {
  await room.database.transact(async (tx) => {
    const alert = await alertStore.alert(tx, id);
    if (alert !== undefined)
      await alertStore.updateAlert(tx, { ...alert, status: 'resolved', resolvedAt: room.clock.at });
  });
}
/** Looks at a later time, waits for the sending, and returns what came. */
async function lookAfter(ms: number): Promise<string[]> {
  room.clock.at += ms;
  received = [];
  await notifications.look();
  await notifications.idle();
  return received.map(({ path, told }) => `${path} ${told.join(', ')}`).sort();
}

test('alerts of a group go out as one message, once, and so does their end', async () => {
  await insert(alertOf('1'), alertOf('2', { version: 2 }), alertOf('3', { status: 'pending', firedAt: null }));
  expect(await lookAfter(0)).toEqual(['/one 1 firing, 2 firing', '/two 1 firing, 2 firing']);
  expect(await lookAfter(1000)).toEqual([]);
  await resolveAlert('1');
  notifications = build();
  expect(await lookAfter(1000)).toEqual(['/one 1 resolved', '/two 1 resolved']);
  expect(await lookAfter(1000)).toEqual([]);
});

test('an alert that joins a group just told of waits for five minutes', async () => {
  await insert(alertOf('1'));
  await lookAfter(0);
  await insert(alertOf('2', { version: 2 }));
  expect(await lookAfter(200_000)).toEqual([]);
  expect(await lookAfter(100_000)).toEqual(['/one 2 firing', '/two 2 firing']);
});

test('a channel that fails is tried again with growing pauses, the others are not told twice', async () => {
  broken.add('/two');
  await insert(alertOf('1'));
  expect(await lookAfter(0)).toEqual(['/one 1 firing', '/two 1 firing']);
  // A pause is between half of and the whole of 2 s, then of 4 s.
  expect(await lookAfter(900)).toEqual([]);
  expect(await lookAfter(1100)).toEqual(['/two 1 firing']);
  expect(await lookAfter(1900)).toEqual([]);
  broken.clear();
  expect(await lookAfter(2100)).toEqual(['/two 1 firing']);
  expect(await lookAfter(600_000)).toEqual([]);
});

test('a silenced alert is told of when the silence ends', async () => {
  await insert(alertOf('1', { silencedUntil: room.clock.at + 60_000 }));
  expect(await lookAfter(59_000)).toEqual([]);
  expect(await lookAfter(1000)).toHaveLength(2);
});

test('an alert nobody heard of does not send its end', async () => {
  await insert(alertOf('1', { silencedUntil: room.clock.at + 60_000 }));
  await resolveAlert('1');
  expect(await lookAfter(120_000)).toEqual([]);
});

test('messages are signed, and known again when they are sent again', async () => {
  broken.add('/one');
  await insert(alertOf('1'));
  await lookAfter(0);
  await lookAfter(2000);
  const [first, again] = signed.filter(({ path }) => path === '/one');
  if (first === undefined || again === undefined) throw new Error('it was not sent twice');
  expect(again.headers['webhook-id']).toBe(first.headers['webhook-id']);
  const seconds = Math.floor(room.clock.at / 1000);
  expect(again.headers['webhook-timestamp']).toBe(String(seconds));
  const message = { id: String(again.headers['webhook-id']), body: again.body, secrets: [secret] };
  expect(again.headers['webhook-signature']).toBe(signaturesOf(message, seconds));
  // A channel from before signatures was given a secret.
  const rows = await room.database.read.select().from(room.database.tables.notificationChannels);
  expect(rows.find(({ id }) => id === 'two')?.secret).toMatch(/^whsec_/);
  expect(signed.find(({ path }) => path === '/two')?.headers['webhook-signature']).toMatch(/^v1,/);
});
