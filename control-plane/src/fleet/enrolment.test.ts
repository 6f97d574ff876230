import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeJoinToken } from '@edgeloop/shared/join-token';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Authority, openAuthority } from '../access/authority.ts';
import { createJoinTokens, type JoinTokens } from '../access/join-tokens.ts';
import { type Database, openSqlite } from '../database/open.ts';
import { createVersionNumbers } from '../registry/version-numbers.ts';
import { createDeviceKey, type DeviceKey, facts } from './device-fixture.ts';
import { createEnrolment, type Enrolment } from './enrolment.ts';
import { createFleet, type Fleet } from './fleet.ts';

let dir: string;
let database: Database;
let authority: Authority;
let joinTokens: JoinTokens;
let enrolment: Enrolment;
let fleet: Fleet;
let clock: number;
const log = pino({ level: 'silent' });
const removed: string[] = [];

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'edgeloop-enrol-'));
  database = openSqlite(join(dir, 'enrol.db'));
  clock = Date.now();
  const now = () => clock;
  const hosts = ['localhost'];
  authority = await openAuthority({ dataDir: dir, publicHosts: hosts, now });
  joinTokens = createJoinTokens({ database, now, reachable: () => ({ hosts, port: 7, caDigest: authority.caDigest }) });
  const numbers = createVersionNumbers(database.tables);
  fleet = createFleet({ database, now, notify: () => undefined, publish: async () => undefined, numbers, log });
  enrolment = createEnrolment({
    ...{ database, authority, joinTokens, now, log, notify: () => undefined },
    mqtt: () => ({ hosts, port: 8 }),
    joined: async () => undefined,
    removed: async (id) => void removed.push(id),
  });
});
afterEach(async () => {
  await database.close();
  rmSync(dir, { recursive: true, force: true });
});

async function token(options: { uses?: number; expiresIn?: number; labels?: Record<string, string> } = {}) {
  const { uses = 1, expiresIn = 60, labels = {} } = options;
  return decodeJoinToken((await joinTokens.create('key:admin', { uses, expiresIn, labels })).token).secret;
}

function enrol(secret: string, deviceId: string, key: DeviceKey, labels: Record<string, string> = {}) {
  return enrolment.enrol({ secret, deviceId, csr: key.csr, labels, facts });
}

async function serialNow(deviceId: string): Promise<string> {
  const rows = await database.read.select().from(database.tables.devices);
  return rows.find((row) => row.id === deviceId)?.certificateSerial ?? '';
}

it('lets exactly one of many in with a token for one', async () => {
  const secret = await token();
  const keys = await Promise.all(Array.from({ length: 8 }, createDeviceKey));
  const outcomes = await Promise.allSettled(keys.map((key, i) => enrol(secret, `cam-${i}`, key)));
  expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1);
  expect(await database.read.$count(database.tables.devices)).toBe(1);
  const refused = outcomes.find((outcome) => outcome.status === 'rejected');
  expect(refused?.reason).toMatchObject({ code: 'forbidden', message: expect.stringContaining('used up') });
});

it('refuses an unknown and an expired token, each with its reason', async () => {
  const key = await createDeviceKey();
  await expect(enrol('x'.repeat(43), 'cam', key)).rejects.toMatchObject({ code: 'unauthorized' });
  const secret = await token({ expiresIn: 60 });
  clock += 60_000;
  await expect(enrol(secret, 'cam', key)).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('expired'),
  });
});

it('takes the device’s labels, but the token’s word over them', async () => {
  const secret = await token({ labels: { site: 'paris' } });
  await enrol(secret, 'cam', await createDeviceKey(), { site: 'elsewhere', tier: 'lab' });
  expect((await fleet.device('cam')).labels).toEqual({ site: 'paris', tier: 'lab' });
});

it('answers a device again that lost its answer, at no use of the token', async () => {
  const secret = await token();
  const key = await createDeviceKey();
  await enrol(secret, 'cam', key);
  const first = await serialNow('cam');
  await enrol(secret, 'cam', key);
  const second = await serialNow('cam');
  expect(second).not.toBe(first);
  for (const serial of [first, second]) expect(await enrolment.admits({ deviceId: 'cam', serial })).toBe(true);
});

it('does not give an id away to another key, and takes no use for the attempt', async () => {
  const secret = await token({ uses: 2 });
  await enrol(secret, 'cam', await createDeviceKey());
  const thief = await createDeviceKey();
  await expect(enrol(secret, 'cam', thief)).rejects.toMatchObject({ code: 'conflict' });
  await enrol(secret, 'cam-2', thief);
});

it('accepts the old certificate until the renewed one was used, then refuses it', async () => {
  await enrol(await token(), 'cam', await createDeviceKey());
  const old = { deviceId: 'cam', serial: await serialNow('cam') };
  await enrolment.renew(old, (await createDeviceKey()).csr);
  const renewed = { deviceId: 'cam', serial: await serialNow('cam') };
  expect(await enrolment.admits(old)).toBe(true);
  expect(await enrolment.admits(renewed)).toBe(true);
  expect(await enrolment.admits(old)).toBe(false);
});

it('refuses a removed device, and lets its id join again with another key and a generation that only grows', async () => {
  const secret = await token({ uses: 2 });
  await enrol(secret, 'cam', await createDeviceKey());
  const peer = { deviceId: 'cam', serial: await serialNow('cam') };
  const wanted = { version: 1, release: 'a'.repeat(64), signature: 's', rolloutId: 'r' };
  await database.transact((tx) => fleet.assign(tx, 'cam', 'm', wanted));
  await enrolment.remove('key:admin', 'cam');
  expect(removed).toContain('cam');
  expect(await enrolment.admits(peer)).toBe(false);
  await expect(enrolment.renew(peer, (await createDeviceKey()).csr)).rejects.toMatchObject({ code: 'conflict' });
  expect(await fleet.device('cam')).toMatchObject({ desired: [], desiredGeneration: 2, revokedAt: clock });
  await enrol(secret, 'cam', await createDeviceKey());
  expect(await enrolment.admits(peer)).toBe(false);
  expect(await fleet.device('cam')).toMatchObject({ revokedAt: null, desiredGeneration: 2, status: 'never_connected' });
});

it('knows nobody who was never enrolled', async () => {
  expect(await enrolment.admits({ deviceId: 'nobody', serial: 'aa' })).toBe(false);
});
