import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Reported } from '@edgeloop/shared/messages';
import { parseSelector } from '@edgeloop/shared/selector';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Database, openSqlite } from '../database/open.ts';
import { facts } from './device-fixture.ts';
import { type Assignment, createFleet, type Fleet } from './fleet.ts';

let dir: string;
let database: Database;
let fleet: Fleet;
let published: { deviceId: string; channel: string; payload: unknown; retain: boolean }[];
let events: string[];
let clock = 1000;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'edgeloop-fleet-'));
  database = openSqlite(join(dir, 'fleet.db'));
  published = [];
  events = [];
  clock = 1000;
  fleet = createFleet({
    database,
    now: () => clock,
    notify: ({ id, state }) => void events.push(`${id} ${state}`),
    publish: async (deviceId, channel, payload, { retain }) =>
      void published.push({ deviceId, channel, payload, retain }),
    log: pino({ level: 'silent' }),
  });
});
afterEach(async () => {
  await database.close();
  rmSync(dir, { recursive: true, force: true });
});

async function add(id: string, labels: Record<string, string> = {}, revokedAt: number | null = null): Promise<void> {
  await database.transact(async (tx) => {
    await tx.insert(database.tables.devices).values({
      ...{ id, labels, revokedAt, enrolledAt: 1, certificateSerial: 'aa', status: 'never_connected' },
      desiredGeneration: 0,
    });
  });
}

const release = (version: number, rolloutId = 'r1'): Assignment => ({
  version,
  release: 'a'.repeat(64),
  signature: 'sig',
  rolloutId,
});

const report = (generation: number): Reported => ({
  generation,
  models: [],
  facts,
  startedAt: 1,
  reportedAt: 2,
  outbox: { pendingItems: 0, pendingBytes: 0, droppedItems: 0 },
});

it('matches devices by labels, without those that were removed', async () => {
  await add('b', { site: 'paris' });
  await add('a', { site: 'paris', tier: 'lab' });
  await add('c', { site: 'oslo' });
  await add('gone', { site: 'paris' }, 5);
  const ids = async (selector: string) => (await fleet.matching(parseSelector(selector))).map((device) => device.id);
  expect(await ids('site=paris')).toEqual(['a', 'b']);
  expect(await ids('site=paris,tier!=lab')).toEqual(['b']);
  expect(await ids('')).toEqual(['a', 'b', 'c']);
});

it('pages through every device once, also when the selector skips most', async () => {
  for (let i = 0; i < 25; i++) await add(`d${String(i).padStart(2, '0')}`, i % 5 === 0 ? { pick: 'yes' } : {});
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await fleet.list({ selector: parseSelector('pick=yes'), limit: 2, cursor });
    seen.push(...page.items.map((device) => device.id));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  expect(seen).toEqual(['d00', 'd05', 'd10', 'd15', 'd20']);
});

it('raises the generation with each change of what is desired, and only then', async () => {
  await add('cam');
  const assign = (desired: Assignment | null) => database.transact((tx) => fleet.assign(tx, 'cam', 'm', desired));
  await assign(release(1));
  await assign(release(1));
  expect((await fleet.device('cam')).desiredGeneration).toBe(1);
  await assign(release(1, 'r2'));
  await assign(release(2, 'r2'));
  expect(await fleet.desiredOf(database.read, ['cam', 'other'], 'm')).toEqual(new Map([['cam', release(2, 'r2')]]));
  expect(await fleet.deployed('m')).toEqual(new Map([[2, 1]]));
  await assign(null);
  await assign(null);
  const device = await fleet.device('cam');
  expect(device.desiredGeneration).toBe(4);
  expect(device.desired).toEqual([]);
});

it('leaves what is desired as it was when the transaction fails', async () => {
  await add('cam');
  const failing = database.transact(async (tx) => {
    await fleet.assign(tx, 'cam', 'm', release(1));
    throw new Error('no');
  });
  await expect(failing).rejects.toThrow('no');
  expect(await fleet.device('cam')).toMatchObject({ desiredGeneration: 0, desired: [] });
});

it('publishes what is desired as a retained message, generation and models together', async () => {
  await add('cam');
  await add('idle');
  await add('gone', {}, 5);
  await database.transact((tx) => fleet.assign(tx, 'cam', 'm', release(3)));
  await fleet.publishAllDesired();
  expect(published).toEqual([
    {
      deviceId: 'cam',
      channel: 'desired',
      payload: { generation: 1, models: [{ name: 'm', ...release(3) }] },
      retain: true,
    },
    { deviceId: 'idle', channel: 'desired', payload: { generation: 0, models: [] }, retain: true },
  ]);
});

it('knows who is online, and does not believe a late last will of an earlier session', async () => {
  await add('cam');
  const status = async () => (await fleet.device('cam')).status;
  expect(await status()).toBe('never_connected');
  await fleet.onPresence('cam', { status: 'online', session: 's1' });
  await fleet.onPresence('cam', { status: 'online', session: 's2' });
  await fleet.onPresence('cam', { status: 'offline', session: 's1' });
  expect(await status()).toBe('online');
  expect(await fleet.online()).toBe(1);
  await fleet.onPresence('cam', { status: 'offline', session: 's2' });
  expect(await status()).toBe('offline');
  expect(events).toEqual(['cam online', 'cam online', 'cam offline']);
});

it('takes everyone as offline after a restart until they say otherwise', async () => {
  await add('cam');
  await add('new');
  await fleet.onPresence('cam', { status: 'online', session: 's1' });
  await fleet.start();
  expect((await fleet.device('cam')).status).toBe('offline');
  expect((await fleet.device('new')).status).toBe('never_connected');
});

it('stores reports, and shows a device that is ahead of this server as conflicting', async () => {
  await add('cam');
  clock = 5000;
  await fleet.onReported('cam', report(0));
  expect(await fleet.device('cam')).toMatchObject({
    reportedGeneration: 0,
    conflicting: false,
    lastSeenAt: 5000,
    facts,
  });
  await fleet.onReported('cam', report(7));
  expect(await fleet.device('cam')).toMatchObject({ reportedGeneration: 7, desiredGeneration: 0, conflicting: true });
});

it('ignores what unknown and removed devices say', async () => {
  await add('gone', {}, 5);
  for (const id of ['gone', 'nobody']) {
    await fleet.onReported(id, report(1));
    await fleet.onPresence(id, { status: 'online', session: 's' });
  }
  expect(events).toEqual([]);
  expect(await fleet.device('gone')).toMatchObject({ status: 'never_connected', reportedGeneration: null });
});

it('replaces labels and writes down who did it, from what to what', async () => {
  await add('cam', { site: 'paris' });
  const device = await fleet.relabel('key:ann', 'cam', { site: 'oslo' });
  expect(device.labels).toEqual({ site: 'oslo' });
  const [entry] = await database.read.select().from(database.tables.audit);
  expect(entry).toMatchObject({
    actor: 'key:ann',
    action: 'device.label',
    before: { labels: { site: 'paris' } },
    after: { labels: { site: 'oslo' } },
  });
  await expect(fleet.relabel('key:ann', 'nobody', {})).rejects.toMatchObject({ code: 'not_found' });
});
