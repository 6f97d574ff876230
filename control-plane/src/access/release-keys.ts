// Which keys sign for the fleet, as operators see and change them, and what is sent to devices under their signature.
import type { ReleaseKey } from '@edgeloop/shared/api/access';
import type { Desired, Order } from '@edgeloop/shared/messages';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Database } from '../database/open.ts';
import { recordAudit } from './audit.ts';
import type { KeyRing, RingKey } from './key-ring.ts';

export interface ReleaseKeysDeps {
  ring: KeyRing;
  database: Database;
  now: () => number;
  /** Devices are to hear of it. */
  changed: () => Promise<void>;
}

export type ReleaseKeys = ReturnType<typeof createReleaseKeys>;

export function createReleaseKeys({ ring, database, now, changed }: ReleaseKeysDeps) {
  const changes = createTurn();

  async function record(actor: string, action: string, { id, publicKey }: Pick<RingKey, 'id' | 'publicKey'>) {
    const subject = `release-key/${id}`;
    const after = { publicKey, serial: ring.trusted().serial };
    await database.transact((tx) =>
      recordAudit(database.tables, tx, { at: now(), actor, action: `release-key.${action}`, subject, after }),
    );
    await changed();
  }

  return {
    list: (): ReleaseKey[] => ring.keys(),

    /** Without a public key, a new key is made here and signs from now on. @throws AppError `invalid_request`, `conflict` */
    add: (actor: string, { publicKey }: { publicKey?: string | undefined }): Promise<ReleaseKey> =>
      changes.run(async () => {
        const added = publicKey === undefined ? await ring.renew() : await ring.add(publicKey);
        await record(actor, 'add', added);
        return added;
      }),

    /** @throws AppError `not_found`; `conflict` for the one that signs */
    retire: (actor: string, id: string): Promise<ReleaseKey> =>
      changes.run(async () => {
        const key = ring.keys().find((each) => each.id === id);
        await ring.retire(id);
        const retired = { id, publicKey: key?.publicKey ?? '', signs: false };
        await record(actor, 'retire', retired);
        return retired;
      }),
  };
}

/** A device that hears nothing for so long follows nothing that it was told before. */
const orderLifeMs = 30 * 86_400_000;

/** What a device should run, under the signature of the key that signs now. */
export function createSeal(ring: KeyRing, now: () => number) {
  let signer = '';
  let signatures = new Map<string, string>();

  /** Many devices run one release. */
  function signatureOf(release: string): string {
    if (signer !== ring.publicKey()) {
      signer = ring.publicKey();
      signatures = new Map();
    }
    const known = signatures.get(release) ?? ring.signRelease(release);
    signatures.set(release, known);
    return known;
  }

  return (deviceId: string, desired: Pick<Desired, 'generation' | 'models'>): Desired => {
    const { generation } = desired;
    const models = desired.models.map((model) => ({ ...model, signature: signatureOf(model.release) }));
    const issuedAt = now();
    const order: Order = { deviceId, generation, issuedAt, expiresAt: issuedAt + orderLifeMs, models };
    const lists = ring.lists();
    return {
      ...{ generation, models, order: ring.signOrder(JSON.stringify(order)) },
      ...(lists.length > 0 ? { releaseKeys: [...lists] } : {}),
    };
  };
}
