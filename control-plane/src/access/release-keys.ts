// Which keys sign for the fleet, as operators see and change them, and what is sent to devices under their signature.
import type { Behind, ReleaseKey } from '@edgeloop/shared/api/access';
import type { Desired, Order } from '@edgeloop/shared/messages';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Database } from '../database/open.ts';
import { recordAudit } from './audit.ts';
import type { KeyRing, RingKey } from './key-ring.ts';

export interface ReleaseKeysDeps {
  ring: KeyRing;
  database: Database;
  now: () => number;
  /** The newest list that each device says it knows, by id; null of those that do not say. */
  serials: () => Promise<ReadonlyMap<string, number | null>>;
  /** Devices are to hear of it. */
  changed: () => Promise<void>;
}

export type ReleaseKeys = ReturnType<typeof createReleaseKeys>;

/** Devices that are named; the others are counted. */
const namedDevices = 100;

export function createReleaseKeys({ ring, database, now, serials, changed }: ReleaseKeysDeps) {
  const changes = createTurn();

  async function record(actor: string, action: string, { id, publicKey }: Pick<RingKey, 'id' | 'publicKey'>) {
    const subject = `release-key/${id}`;
    const after = { publicKey, serial: ring.trusted().serial };
    await database.transact((tx) =>
      recordAudit(database.tables, tx, { at: now(), actor, action: `release-key.${action}`, subject, after }),
    );
    await changed();
  }

  async function behind(): Promise<Behind> {
    const { serial: newest } = ring.trusted();
    const all = [...(await serials())].filter(([, serial]) => newest > 0 && (serial ?? -1) < newest);
    const named = all.slice(0, namedDevices).map(([deviceId, serial]) => ({ deviceId, serial }));
    return { serial: newest, behind: named, behindCount: all.length };
  }

  return {
    list: async (): Promise<Behind & { items: ReleaseKey[] }> => ({ items: ring.keys(), ...(await behind()) }),

    /** Without a public key, a new key is made here and signs from now on. @throws AppError `invalid_request`, `conflict` */
    add: (actor: string, { publicKey }: { publicKey?: string | undefined }): Promise<ReleaseKey> =>
      changes.run(async () => {
        const added = publicKey === undefined ? await ring.renew() : await ring.add(publicKey);
        await record(actor, 'add', added);
        return added;
      }),

    /** With the devices that trust it until they return. @throws AppError `not_found`; `conflict` for the one that signs */
    retire: (actor: string, id: string): Promise<ReleaseKey & Behind> =>
      changes.run(async () => {
        const key = ring.keys().find((each) => each.id === id);
        // Who knows the list before is online or was lately, and hears of this one at once.
        const left = await behind();
        await ring.retire(id);
        const retired = { id, publicKey: key?.publicKey ?? '', signs: false };
        await record(actor, 'retire', retired);
        return { ...retired, ...left };
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
