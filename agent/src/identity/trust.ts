// Whom this device believes: the keys of its fleet, as they change from list to list, and what of a message they have signed.
import { createPublicKey } from 'node:crypto';
import { AppError, parseJson } from '@edgeloop/shared/errors';
import { type Desired, type DesiredModel, Order } from '@edgeloop/shared/messages';
import { verifyDocument } from '@edgeloop/shared/node/signing';
import { KeyList, type SignedDocument } from '@edgeloop/shared/signed-documents';
import { z } from 'zod';

export const Trust = KeyList.extend({
  /** An order has come that was signed: what is not signed is not followed any more. */
  ordersSigned: z.boolean(),
});
export type Trust = z.infer<typeof Trust>;

/** What to follow, and whom to believe from now on. */
export interface Heeded {
  trust: Trust;
  order: { generation: number; models: DesiredModel[] };
}

/**
 * Takes a message about what `deviceId` should run at its word, if that is one of a trusted key.
 * @throws AppError `integrity` for what is not signed by one, is for another device, or is too old
 */
export function heed(trust: Trust, desired: Desired, { deviceId, nowMs }: { deviceId: string; nowMs: number }): Heeded {
  const keys = followKeys(trust, desired.releaseKeys ?? []);
  if (desired.order === undefined) {
    if (trust.ordersSigned) throw new AppError('integrity', 'the order is not signed, as those before it were');
    return { trust: keys, order: desired };
  }
  if (!verifyDocument('order', desired.order, keys.keys))
    throw new AppError('integrity', 'the order is signed by no key that this device trusts');
  const order = parseJson(Order, desired.order.document, 'order', 'integrity');
  if (order.deviceId !== deviceId) throw new AppError('integrity', `the order is one for device ${order.deviceId}`);
  if (order.expiresAt <= nowMs) throw new AppError('integrity', expired(order.expiresAt, nowMs));
  return { trust: { ...keys, ordersSigned: true }, order };
}

/** From list to list, as far as each is signed by a key of the one before. */
function followKeys(trust: Trust, lists: readonly SignedDocument[]): Trust {
  let followed = trust;
  for (const signed of lists) {
    const { serial, keys } = parseJson(KeyList, signed.document, 'releaseKeys', 'integrity');
    if (serial <= followed.serial) continue;
    if (serial !== followed.serial + 1 || !verifyDocument('keys', signed, followed.keys))
      throw new AppError(
        'integrity',
        `the list ${serial} of release keys is signed by no key of list ${followed.serial}`,
      );
    for (const key of keys) requireKey(key, serial);
    followed = { ...followed, serial, keys };
  }
  return followed;
}

function requireKey(pem: string, serial: number): void {
  try {
    if (createPublicKey(pem).asymmetricKeyType === 'ed25519') return;
  } catch (cause) {
    throw new AppError('integrity', `the list ${serial} of release keys holds a damaged key`, { cause });
  }
  throw new AppError('integrity', `the list ${serial} of release keys holds a key that is not Ed25519`);
}

function expired(expiresAt: number, nowMs: number): string {
  const [until, now] = [expiresAt, nowMs].map((at) => new Date(at).toISOString());
  return `the order was good until ${until}, and the clock of this device says ${now}; one of the two is wrong, or the order is old`;
}
