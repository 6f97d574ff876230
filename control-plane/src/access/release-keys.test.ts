import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseJson } from '@edgeloop/shared/errors';
import { type Desired, Order } from '@edgeloop/shared/messages';
import { verifyDocument, verifyRelease } from '@edgeloop/shared/node/signing';
import { KeyList } from '@edgeloop/shared/signed-documents';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Database, openSqlite } from '../database/open.ts';
import { auditPage } from './audit.ts';
import { type KeyRing, openKeyRing } from './key-ring.ts';
import { createReleaseKeys, createSeal, type ReleaseKeys } from './release-keys.ts';

let folder = '';
let database: Database;
let ring: KeyRing;
let keys: ReleaseKeys;
let told = 0;
let serials: Map<string, number | null>;

async function open(): Promise<void> {
  ring = await openKeyRing(folder);
  const changed = async () => {
    told++;
  };
  keys = createReleaseKeys({ ring, database, now: () => 5000, serials: async () => serials, changed });
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'keys-'));
  database = openSqlite(join(folder, 'test.db'));
  told = 0;
  serials = new Map();
  await open();
});
afterEach(async () => {
  await database.close();
  rmSync(folder, { recursive: true });
});

const release = 'b'.repeat(64);
const desired: Pick<Desired, 'generation' | 'models'> = {
  generation: 7,
  models: [{ name: 'm', version: 1, release, signature: 'former', rolloutId: 'r' }],
};

describe('the keys that sign for a fleet', () => {
  it('sign orders and releases, each change signed by a key of the list before, over restarts', async () => {
    const first = ring.publicKey();
    const added = await keys.add('key:admin', {});
    await open();
    expect(ring.publicKey()).toBe(added.publicKey);
    expect(ring.trusted()).toEqual({ serial: 1, keys: [first, added.publicKey] });
    const sealed = createSeal(ring, () => 1000)('gate-7', desired);
    if (sealed.order === undefined) return expect.unreachable();
    expect(verifyDocument('order', sealed.order, [added.publicKey])).toBe(true);
    expect(parseJson(Order, sealed.order.document, 'order')).toMatchObject({ deviceId: 'gate-7', generation: 7 });
    expect(verifyRelease(release, sealed.models[0]?.signature ?? '', [added.publicKey])).toBe(true);
    const [list] = sealed.releaseKeys ?? [];
    if (list === undefined) return expect.unreachable();
    expect(verifyDocument('keys', list, [first])).toBe(true);
    expect(parseJson(KeyList, list.document, 'list')).toEqual(ring.trusted());
    expect(told).toBe(1);
  });

  it('are retired, but for the one that signs', async () => {
    const [first] = (await keys.list()).items;
    const added = await keys.add('key:admin', {});
    await expect(keys.retire('key:admin', added.id)).rejects.toThrow(/add another one first/);
    await expect(keys.retire('key:admin', 'none')).rejects.toMatchObject({ code: 'not_found' });
    await keys.retire('key:admin', first?.id ?? '');
    await open();
    expect((await keys.list()).items).toEqual([added]);
    const { items } = await auditPage(database, { limit: 10 });
    expect(items.map(({ action }) => action)).toEqual(['release-key.retire', 'release-key.add']);
  });

  it('say which devices do not know the newest list, and which would still trust a retired one', async () => {
    serials = new Map([
      ['new', 1],
      ['away', 0],
      ['old-agent', null],
    ]);
    const { items, ...before } = await keys.list();
    expect(before).toEqual({ serial: 0, behind: [], behindCount: 0 });
    await keys.add('key:admin', {});
    const behind = [
      { deviceId: 'away', serial: 0 },
      { deviceId: 'old-agent', serial: null },
    ];
    expect(await keys.list()).toMatchObject({ serial: 1, behind, behindCount: 2 });
    expect(await keys.retire('key:admin', items[0]?.id ?? '')).toMatchObject({
      id: items[0]?.id,
      behind,
      behindCount: 2,
    });
    expect(await keys.list()).toMatchObject({ serial: 2, behindCount: 3 });
  });

  it('may lie elsewhere: a public key is trusted, and signs nothing here', async () => {
    const publicKey = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }).toString();
    const signing = ring.publicKey();
    expect(await keys.add('key:admin', { publicKey: publicKey.replaceAll('\n', '\r\n') })).toMatchObject({
      publicKey,
      signs: false,
    });
    expect(ring.publicKey()).toBe(signing);
    await expect(keys.add('key:admin', { publicKey })).rejects.toMatchObject({ code: 'conflict' });
  });

  it.each([
    [
      'a private key',
      () => generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    ],
    [
      'a key of another kind',
      () =>
        generateKeyPairSync('rsa', { modulusLength: 1024 })
          .publicKey.export({ type: 'spki', format: 'pem' })
          .toString(),
    ],
    ['no key', () => 'nonsense'],
  ])('are not %s', async (_, pem) => {
    await expect(keys.add('key:admin', { publicKey: pem() })).rejects.toThrow(
      /publicKey must be an Ed25519 public key/,
    );
    expect(ring.trusted().serial).toBe(0);
  });

  it('are refused when their files are damaged or do not belong together', async () => {
    await keys.add('key:admin', {});
    const path = join(folder, 'release-keys.json');
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.slice(0, 40));
    await expect(open()).rejects.toMatchObject({ code: 'integrity' });
    writeFileSync(path, text);
    rmSync(join(folder, 'fleet.key'));
    await expect(open()).rejects.toThrow(/restore it from a backup/);
  });
});
