import { createPrivateKey } from 'node:crypto';
import { Desired, type DesiredModel } from '@edgeloop/shared/messages';
import { createFleetKey, signDocument } from '@edgeloop/shared/node/signing';
import { describe, expect, it } from 'vitest';
import { heed, type Trust } from './trust.ts';

const [first, second, third, stranger] = [1, 2, 3, 4].map(() => {
  const { privateKeyPem, publicKeyPem } = createFleetKey();
  return { privateKey: createPrivateKey(privateKeyPem), publicKey: publicKeyPem };
});
if (!first || !second || !third || !stranger) throw new Error('no keys');

type Key = typeof first;

const model: DesiredModel = { name: 'm', version: 2, release: 'a'.repeat(64), signature: '', rolloutId: 'r' };
const nowMs = 1_000_000;
const device = { deviceId: 'gate-7', nowMs };

function trusting(...keys: Key[]): Trust {
  return { serial: 0, keys: keys.map(({ publicKey }) => publicKey), ordersSigned: false };
}

function ordered(by: Key, more: Record<string, unknown> = {}, lists: Desired['releaseKeys'] = undefined): Desired {
  const order = { deviceId: 'gate-7', generation: 4, issuedAt: nowMs, expiresAt: nowMs + 1, models: [model], ...more };
  return Desired.parse({
    ...{ generation: 4, models: [], releaseKeys: lists },
    order: signDocument('order', JSON.stringify(order), by.privateKey),
  });
}

const list = (by: Key, serial: number, ...keys: Key[]) =>
  signDocument('keys', JSON.stringify({ serial, keys: keys.map(({ publicKey }) => publicKey) }), by.privateKey);

describe('what a device is told to run', () => {
  it('is what a trusted key has signed, not what stands beside it', () => {
    const { order, trust } = heed(trusting(first), ordered(first), device);
    expect(order).toMatchObject({ generation: 4, models: [model] });
    expect(trust).toMatchObject({ serial: 0, ordersSigned: true });
  });

  it.each([
    ['signed by a stranger', ordered(stranger), /signed by no key/],
    ['for another device', ordered(first, { deviceId: 'gate-8' }), /for device gate-8/],
    ['too old', ordered(first, { expiresAt: nowMs }), /was good until 1970-01-01T00:16:40/],
    ['signed as something else', { ...ordered(first), order: list(first, 1, first) }, /signed by no key/],
  ])('is refused when it is %s', (_, desired, why) => {
    expect(() => heed(trusting(first), desired, device)).toThrow(why);
  });

  it('needs no signature before the first that has one, and one ever after', () => {
    const plain: Desired = { generation: 3, models: [model] };
    expect(heed(trusting(first), plain, device).order).toEqual(plain);
    const { trust } = heed(trusting(first), ordered(first), device);
    expect(() => heed(trust, plain, device)).toThrow(/not signed/);
  });
});

describe('the keys of a fleet', () => {
  const lists = [list(first, 1, first, second), list(second, 2, second), list(second, 3, second, third)];

  it('are followed from list to list, by a device that was away for some', () => {
    const desired = ordered(third, {}, lists);
    const { trust } = heed(trusting(first), desired, device);
    expect(trust).toMatchObject({ serial: 3, keys: [second.publicKey, third.publicKey] });
    const later = { ...trust, serial: 2, keys: [second.publicKey] };
    expect(heed(later, desired, device).trust.serial).toBe(3);
  });

  it('believes a retired key no more', () => {
    const { trust } = heed(trusting(first), ordered(second, {}, lists.slice(0, 2)), device);
    expect(() => heed(trust, ordered(first), device)).toThrow(/signed by no key/);
  });

  it.each([
    ['a list that a stranger signed', [list(stranger, 1, stranger)]],
    ['a list of a key that only it names', [list(second, 1, first, second)]],
    ['a list without the one before', [list(first, 2, first, second)]],
    ['a list that a retired key signed', [lists[0], lists[1], list(first, 3, first)]],
    ['a list with something else than a key', [list(first, 1, { ...first, publicKey: 'nonsense' })]],
  ])('are not changed by %s', (_, wrong) => {
    const given = wrong.flatMap((each) => each ?? []);
    expect(() => heed(trusting(first), ordered(first, {}, given), device)).toThrow(/release keys/);
  });
});
