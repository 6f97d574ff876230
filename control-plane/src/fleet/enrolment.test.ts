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
  fleet = createFleet({
    database,
    now,
    notify: () => undefined,
    publish: async () => undefined,
    seal: (_, order) => order,
    numbers,
    log,
  });
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

it('bars a removed device by its id and by its key, until an operator readmits it', async () => {
  const secret = await token({ uses: 9 });
  const key = await createDeviceKey();
  await enrol(secret, 'cam', key);
  const peer = { deviceId: 'cam', serial: await serialNow('cam') };
  const wanted = { version: 1, release: 'a'.repeat(64), signature: 's', rolloutId: 'r' };
  await database.transact((tx) => fleet.assign(tx, ['cam'], 'm', wanted));
  await enrolment.remove('key:admin', 'cam');
  expect(removed).toContain('cam');
  expect(await enrolment.admits(peer)).toBe(false);
  await expect(enrolment.renew(peer, key.csr)).rejects.toMatchObject({ code: 'conflict' });
  expect(await fleet.device('cam')).toMatchObject({ desired: [], desiredGeneration: 2, revokedAt: clock });

  const barred = { code: 'forbidden', message: expect.stringMatching(/"cam" was removed .*devices readmit cam/) };
  await expect(enrol(secret, 'cam', key)).rejects.toMatchObject(barred);
  await expect(enrol(secret, 'cam', await createDeviceKey())).rejects.toMatchObject(barred);
  await expect(enrol(secret, 'another-name', key)).rejects.toMatchObject(barred);
  expect((await joinTokens.list({ limit: 1 })).items).toMatchObject([{ uses: 9, usesLeft: 8 }]);

  await enrolment.readmit('key:admin', 'cam');
  await enrolment.readmit('key:admin', 'cam');
  expect(await enrolment.admits(peer)).toBe(false);
  await enrol(secret, 'cam', key);
  expect(await enrolment.admits(peer)).toBe(false);
  expect(await enrolment.admits({ deviceId: 'cam', serial: await serialNow('cam') })).toBe(true);
  const back = { revokedAt: null, readmittedAt: null, desiredGeneration: 2, status: 'never_connected' };
  expect(await fleet.device('cam')).toMatchObject(back);
  await expect(enrolment.readmit('key:admin', 'cam')).rejects.toMatchObject({ code: 'conflict' });
  const actions = (await database.read.select().from(database.tables.audit)).map(({ action }) => action);
  expect(actions.filter((action) => action === 'device.readmit')).toHaveLength(1);
});

it('bars a readmitted device again that is removed before it came', async () => {
  const secret = await token({ uses: 2 });
  const key = await createDeviceKey();
  await enrol(secret, 'cam', key);
  await enrolment.remove('key:admin', 'cam');
  await expect(enrolment.remove('key:admin', 'cam')).rejects.toMatchObject({ code: 'conflict' });
  await enrolment.readmit('key:admin', 'cam');
  await enrolment.remove('key:admin', 'cam');
  await expect(enrol(secret, 'cam', key)).rejects.toMatchObject({ code: 'forbidden' });
});

it('lists removed devices apart', async () => {
  const secret = await token({ uses: 2 });
  for (const id of ['cam', 'gone']) await enrol(secret, id, await createDeviceKey());
  await enrolment.remove('key:admin', 'gone');
  const ids = async (removed: boolean) =>
    (await fleet.list({ selector: [], limit: 10, removed })).items.map(({ id }) => id);
  expect([await ids(false), await ids(true)]).toEqual([['cam'], ['gone']]);
});

it('keeps a device out that is removed while it enrols, however the two meet', async () => {
  const secret = await token({ uses: 100 });
  for (let i = 0; i < 10; i++) {
    const key = await createDeviceKey();
    await enrol(secret, `cam-${i}`, key);
    const peer = { deviceId: `cam-${i}`, serial: await serialNow(`cam-${i}`) };
    const [, removal] = await Promise.allSettled([
      i % 2 === 0 ? enrol(secret, peer.deviceId, key) : enrolment.renew(peer, key.csr),
      enrolment.remove('key:admin', peer.deviceId),
    ]);
    expect(removal.status).toBe('fulfilled');
    const peerNow = { deviceId: peer.deviceId, serial: await serialNow(peer.deviceId) };
    expect([await enrolment.admits(peer), await enrolment.admits(peerNow)]).toEqual([false, false]);
  }
});

it('does not renew by a certificate from before the device was removed and enrolled anew', async () => {
  const secret = await token({ uses: 2 });
  const key = await createDeviceKey();
  await enrol(secret, 'cam', key);
  const former = { deviceId: 'cam', serial: await serialNow('cam') };
  await enrolment.remove('key:admin', 'cam');
  await enrolment.readmit('key:admin', 'cam');
  await enrol(secret, 'cam', key);
  await expect(enrolment.renew(former, key.csr)).rejects.toMatchObject({ code: 'unauthorized' });
  expect(await enrolment.admits(former)).toBe(false);
});

it('lets nobody in with a token that was revoked, not even who lost the answer, and says when', async () => {
  const secret = await token({ uses: 3, labels: { site: 'paris' } });
  const key = await createDeviceKey();
  await enrol(secret, 'cam', key);
  const [listed] = (await joinTokens.list({ limit: 10 })).items;
  expect(listed).toMatchObject({ labels: { site: 'paris' }, uses: 3, usesLeft: 2, revokedAt: null });
  expect(JSON.stringify(listed)).not.toContain(secret);
  const id = listed?.id ?? '';
  const first = await joinTokens.revoke('key:admin', id);
  clock += 1000;
  expect(await joinTokens.revoke('key:admin', id)).toEqual(first);
  const refused = { code: 'forbidden', message: expect.stringMatching(/revoked on \d{4}-.*join-tokens create/) };
  await expect(enrol(secret, 'cam-2', await createDeviceKey())).rejects.toMatchObject(refused);
  await expect(enrol(secret, 'cam', key)).rejects.toMatchObject(refused);
  expect(await enrolment.admits({ deviceId: 'cam', serial: await serialNow('cam') })).toBe(true);
  await expect(joinTokens.revoke('key:admin', 'nothing')).rejects.toMatchObject({ code: 'not_found' });
  const entries = await database.read.select().from(database.tables.audit);
  expect(entries.filter(({ action }) => action === 'join-token.revoke')).toHaveLength(1);
});

it('lets nobody in whose token is revoked between the look at it and its use', async () => {
  const secret = await token();
  const id = (await joinTokens.list({ limit: 1 })).items[0]?.id ?? '';
  const entering = enrol(secret, 'cam', await createDeviceKey());
  const revoking = joinTokens.revoke('key:admin', id);
  await expect(entering).rejects.toMatchObject({ code: 'forbidden' });
  await revoking;
});

it('knows nobody who was never enrolled', async () => {
  expect(await enrolment.admits({ deviceId: 'nobody', serial: 'aa' })).toBe(false);
});
