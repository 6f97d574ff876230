import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Desired, type Reported } from '@edgeloop/shared/messages';
import { parseSelector } from '@edgeloop/shared/selector';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Database, openSqlite } from '../database/open.ts';
import { createVersionNumbers } from '../registry/version-numbers.ts';
import { facts } from './device-fixture.ts';
import { type Assignment, createFleet, type Fleet } from './fleet.ts';

let dir: string;
let database: Database;
let fleet: Fleet;
let published: { deviceId: string; channel: string; payload: unknown; retain: boolean }[];
let events: string[];
let clock = 1000;
/** Devices to whom the broker takes no message. */
const refusing = new Set<string>();

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'edgeloop-fleet-'));
  database = openSqlite(join(dir, 'fleet.db'));
  published = [];
  events = [];
  clock = 1000;
  refusing.clear();
  fleet = build();
});

/** As after a start. */
function build(): Fleet {
  return createFleet({
    seal: (_, order) => order,
    database,
    now: () => clock,
    notify: ({ id, state }) => void events.push(`${id} ${state}`),
    publish: async (deviceId, channel, payload, { retain }) => {
      if (refusing.has(deviceId)) throw new Error('too large');
      published.push({ deviceId, channel, payload, retain });
    },
    numbers: createVersionNumbers(database.tables),
    log: pino({ level: 'silent' }),
  });
}
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

it('is looked at as of the last commit, also by who looks while somebody else has it read anew', async () => {
  await add('a');
  await fleet.devices();
  let seen: Promise<unknown> | undefined;
  fleet.listen(() => {
    void fleet.devices();
    seen = fleet.devices().then((devices) => devices.get('a')?.labels);
  });
  await fleet.relabel('key:test', 'a', { site: 'x' });
  expect(await seen).toEqual({ site: 'x' });
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
  const assign = (desired: Assignment | null) => database.transact((tx) => fleet.assign(tx, ['cam'], 'm', desired));
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
    await fleet.assign(tx, ['cam'], 'm', release(1));
    throw new Error('no');
  });
  await expect(failing).rejects.toThrow('no');
  expect(await fleet.device('cam')).toMatchObject({ desiredGeneration: 0, desired: [] });
});

it('publishes what is desired as a retained message, generation and models together', async () => {
  await add('cam');
  await add('idle');
  await add('gone', {}, 5);
  await database.transact((tx) => fleet.assign(tx, ['cam'], 'm', release(3)));
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

const digest = (digit: string) => digit.repeat(64);

/** A version in the registry, as far as the fleet looks. */
async function register(model: string, version: number, release: string): Promise<void> {
  await database.transact(async (tx) => {
    await tx.insert(database.tables.modelVersions).values({
      ...{ model, version, release, digest: digest('0'), sizeBytes: 1, signature: 'sig', goldenSamples: 0 },
      ...{ io: {}, manifest: {}, lineage: {}, metrics: {}, createdAt: 1, createdBy: 'key:ann' },
    });
  });
}

function running(...models: Reported['models']): Reported {
  return { ...report(0), models };
}
const active = (name: string, version: number, given?: string): Reported['models'][number] => ({
  name,
  active: { version, since: 1, ...(given === undefined ? {} : { release: given }) },
  lastGood: version,
  candidate: null,
});

it('tells of releases that are not registered, once, until the device runs what is', async () => {
  await add('cam');
  await register('m', 2, digest('a'));
  await fleet.onReported('cam', running(active('m', 2, digest('a')), active('old', 2)));
  expect(await fleet.device('cam')).toMatchObject({
    unknownReleases: [{ name: 'old', version: 2, release: null }],
    problems: [expect.stringContaining('model old 2: the device has a version that is not registered here')],
  });
  for (let i = 0; i < 3; i++) await fleet.onReported('cam', running(active('m', 2, digest('b'))));
  expect(await fleet.device('cam')).toMatchObject({
    unknownReleases: [{ name: 'm', version: 2, release: digest('b') }],
    problems: [expect.stringContaining('model m 2: the device has release bbbbbbbbbbbb, not registered here')],
  });
  expect(await fleet.strangers()).toBe(1);
  expect(events.filter((event) => event === 'cam unknown_release')).toHaveLength(2);
  await fleet.onReported('cam', running(active('m', 2, digest('a'))));
  expect(await fleet.device('cam')).toMatchObject({ unknownReleases: [], problems: [] });
  expect(await fleet.strangers()).toBe(0);
});

it('knows a candidate and a fallback by their releases and numbers too', async () => {
  await add('cam');
  await register('m', 2, digest('a'));
  const candidate = { version: 3, rolloutId: 'r', state: 'fetching' as const, since: 1 };
  await fleet.onReported('cam', running({ ...active('m', 2, digest('a')), lastGood: 7, candidate }));
  expect((await fleet.device('cam')).unknownReleases).toEqual([
    { name: 'm', version: 3, release: null },
    { name: 'm', version: 7, release: null },
  ]);
  const page = await fleet.list({ selector: [], limit: 10 });
  expect(page.items[0]?.unknownReleases).toHaveLength(2);
});

it('reserves the numbers that devices report and nobody has registered', async () => {
  await add('cam');
  await register('m', 1, digest('a'));
  const numbers = createVersionNumbers(database.tables);
  await fleet.onReported('cam', running({ ...active('m', 2), lastGood: 4 }, active('never', 3)));
  expect(await numbers.next(database.read, 'm')).toBe(5);
  expect(await numbers.next(database.read, 'never')).toBe(4);
});

it('believes what devices say of versions that they were told to run, also long ago', async () => {
  await add('cam');
  for (const version of [1, 2, 3]) await register('m', version, digest(String(version)));
  for (const version of [1, 2]) await database.transact((tx) => fleet.assign(tx, ['cam'], 'm', release(version)));
  const claims = [
    { version: 1, release: digest('1') },
    { version: 2 },
    { version: 3 },
    { version: 2, release: digest('f') },
    { version: 9 },
  ].map((claim) => ({ deviceId: 'cam', model: 'm', ...claim }));
  const verdicts = await database.transact(async (tx) => {
    const verdictOf = await fleet.claims.judge(tx, claims);
    return claims.map(verdictOf);
  });
  expect(verdicts).toEqual(['counted', 'counted', 'never_assigned', 'unknown_release', 'unknown_release']);
  expect(await createVersionNumbers(database.tables).next(database.read, 'm')).toBe(10);
});

it('adds up what counts nowhere, within bounds, and shows it for a day', async () => {
  await add('cam');
  const entry = { deviceId: 'cam', what: 'samples' as const, reason: 'never_assigned', release: '', count: 2 };
  const disregard = (version: number) =>
    database.transact((tx) => fleet.claims.disregard(tx, [{ ...entry, model: 'm', version }]));
  for (let i = 0; i < 3; i++) await disregard(1);
  expect((await fleet.device('cam')).problems).toEqual([
    '6 samples of model m 1 count nowhere: of a version that it was never told to run',
  ]);
  for (let version = 2; version < 200; version++) await disregard(version);
  expect(await database.read.$count(database.tables.disregarded)).toBe(51);
  clock += 86_400_000;
  expect((await fleet.device('cam')).problems).toEqual([]);
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

describe('a device that is ahead of this server, as after a restored backup', () => {
  const told = () => published.map(({ deviceId, payload }) => [deviceId, Desired.parse(payload).generation]);
  const assign = (id: string, version: number) =>
    database.transact((tx) => fleet.assign(tx, [id], 'm', release(version)));
  /** Told generation 1 before the backup; says since that it followed 3. */
  async function restored(...ids: string[]) {
    for (const id of ids) {
      await add(id, { site: id });
      await fleet.onReported(id, report(0));
      await assign(id, 1);
    }
    fleet = build();
    await register('m', 9, digest('9'));
    for (const id of ids) await fleet.onReported(id, { ...running(active('m', 9, digest('9'))), generation: 3 });
    published = [];
  }

  it('stays conflicting and is told nothing, however far the counter grows', async () => {
    await restored('cam');
    for (let version = 2; version < 8; version++) {
      await assign('cam', version);
      await fleet.publishDesired(['cam']);
      await fleet.onReported('cam', report(3));
      expect(await fleet.device('cam')).toMatchObject({ conflicting: true, desiredGeneration: version });
    }
    await fleet.publishAllDesired();
    fleet = build();
    await fleet.onReported('cam', report(3));
    await fleet.publishAllDesired();
    expect(told()).toEqual([]);
  });

  it('is not told what it was not told before the restart until it has spoken: the same number may be another', async () => {
    await add('cam');
    await fleet.onReported('cam', report(0));
    await assign('cam', 1);
    fleet = build();
    await assign('cam', 2);
    await assign('cam', 3);
    await fleet.publishDesired(['cam']);
    expect(told()).toEqual([]);
    await fleet.onReported('cam', report(3));
    expect(await fleet.device('cam')).toMatchObject({ conflicting: true, desiredGeneration: 3 });
    expect(told()).toEqual([]);
  });

  it('that is not ahead is told as soon as it has spoken', async () => {
    await add('cam');
    await fleet.onReported('cam', report(0));
    await assign('cam', 1);
    fleet = build();
    await assign('cam', 2);
    await fleet.onReported('cam', report(1));
    expect(told()).toEqual([['cam', 2]]);
    expect(await fleet.device('cam')).toMatchObject({ conflicting: false });
  });

  it('follows when an operator says so', async () => {
    await restored('cam', 'other');
    await expect(fleet.resolve('key:ann', { id: 'nobody' }, 'follow')).rejects.toMatchObject({ code: 'not_found' });
    expect(await fleet.resolve('key:ann', { id: 'cam' }, 'follow')).toEqual(['cam']);
    expect(told()).toEqual([['cam', 4]]);
    expect(published[0]?.payload).toMatchObject({ models: [{ name: 'm', version: 1 }] });
    await expect(fleet.resolve('key:ann', { id: 'cam' }, 'follow')).rejects.toMatchObject({ code: 'conflict' });
    await fleet.onReported('cam', report(4));
    expect(await fleet.device('cam')).toMatchObject({ conflicting: false });
    expect(await fleet.device('other')).toMatchObject({ conflicting: true });
    const audit = await database.read.select().from(database.tables.audit);
    expect(audit).toMatchObject([{ actor: 'key:ann', action: 'device.resolve', after: { decision: 'follow' } }]);
  });

  it('keeps what it runs when an operator says so, until a newer word', async () => {
    await restored('cam', 'other');
    expect(await fleet.resolve('key:ann', { selector: parseSelector('site=cam') }, 'keep')).toEqual(['cam']);
    const [kept] = (await fleet.device('cam')).desired;
    expect(kept).toMatchObject({ version: 9, release: digest('9'), rolloutId: expect.stringMatching(/-kept$/) });
    expect(published).toMatchObject([
      { deviceId: 'cam', payload: { generation: 4, models: [{ version: 9, release: digest('9'), signature: 'sig' }] } },
    ]);
    await assign('cam', 5);
    await fleet.publishDesired(['cam']);
    expect(told().at(-1)).toEqual(['cam', 5]);
  });
});

it('stores what devices say in one turn in one commit, and one that cannot be stored keeps no other from it', async () => {
  for (let i = 0; i < 20; i++) await add(`d${i}`);
  let commits = 0;
  const transact = database.transact.bind(database);
  const counting = vi.spyOn(database, 'transact').mockImplementation((work) => {
    commits += 1;
    return transact(work);
  });
  await Promise.all(Array.from({ length: 20 }, (_, i) => fleet.onReported(`d${i}`, report(0))));
  expect(commits).toBe(1);
  const broken = { ...report(0), startedAt: 1n as unknown as number };
  const said = await Promise.allSettled([fleet.onReported('d1', broken), fleet.onReported('d2', report(2))]);
  expect(said.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
  expect(await fleet.device('d2')).toMatchObject({ reportedGeneration: 2 });
  counting.mockRestore();
});

it('believes the last of several words that one device says in one turn', async () => {
  await add('cam');
  await Promise.all([
    fleet.onPresence('cam', { status: 'online', session: 's1' }),
    fleet.onReported('cam', report(0)),
    fleet.onPresence('cam', { status: 'offline', session: 's0' }),
    fleet.onPresence('cam', { status: 'offline', session: 's1' }),
    fleet.onPresence('cam', { status: 'online', session: 's2' }),
    fleet.onPresence('cam', { status: 'offline', session: 's1' }),
  ]);
  expect(await fleet.device('cam')).toMatchObject({ status: 'online', reportedGeneration: 0 });
  expect(events.filter((event) => event === 'cam online')).toHaveLength(3);
});

it('tells all others when one message is refused, names that one, and tells it at the next try', async () => {
  const ids = ['a', 'b', 'c'];
  for (const id of ids) await add(id);
  for (const id of ids) {
    await fleet.onReported(id, report(0));
    await database.transact((tx) => fleet.assign(tx, [id], 'm', release(1)));
  }
  refusing.add('b');
  await expect(fleet.publishDesired(ids)).rejects.toMatchObject({
    code: 'unavailable',
    deviceIds: new Set(['b']),
    message: expect.stringContaining('b: too large'),
  });
  expect(published.map(({ deviceId }) => deviceId)).toEqual(['a', 'c']);
  refusing.clear();
  await fleet.publishDesired(['b']);
  expect(published.map(({ deviceId }) => deviceId)).toEqual(['a', 'c', 'b']);
});

it('says that two devices use one identity, over a restart of the server, until they are quiet', async () => {
  await add('a');
  const says = (instance: string) => fleet.onPresence('a', { status: 'online', session: `of ${instance}`, instance });
  await says('card');
  await says('copy');
  expect((await fleet.device('a')).identityConflict).toBeNull();
  fleet = build();
  await says('card');
  expect(await fleet.device('a')).toMatchObject({
    identityConflict: { since: 1000, takeovers: 1 },
    problems: [expect.stringMatching(/^two devices use this identity.*1 times.*EDGELOOP_DEVICE_ID/)],
  });
  expect([await fleet.identityConflicts(), await fleet.identityConflict('a')]).toEqual([
    1,
    { since: 1000, takeovers: 1 },
  ]);
  expect(events).toContain('a identity_conflict');
  await says('copy');
  expect(events.filter((event) => event === 'a identity_conflict')).toHaveLength(1);
  clock += 3_600_001;
  expect([(await fleet.device('a')).identityConflict, await fleet.identityConflicts()]).toEqual([null, 0]);
});

it('shows how far the clock of a device is off, and tells when it goes wrong and when it is right again', async () => {
  await add('a');
  const says = (offsetMs: number) =>
    fleet.onReported('a', { ...report(0), clock: { offsetMs, roundTripMs: 20, measuredAt: 5 } });
  await fleet.onReported('a', report(0));
  expect((await fleet.device('a')).clock).toBeNull();
  await says(-3 * 86_400_000);
  await says(-3 * 86_400_000);
  expect(await fleet.device('a')).toMatchObject({
    clock: { offsetMs: -259_200_000, measuredAt: 5 },
    problems: [expect.stringMatching(/clock is 3 days behind; set it/)],
  });
  expect(await fleet.clocksOff()).toBe(1);
  await says(12);
  expect([await fleet.clocksOff(), (await fleet.device('a')).problems]).toEqual([0, []]);
  expect(events.filter((event) => /clock/.test(event))).toEqual(['a clock_off', 'a clock_right']);
});
