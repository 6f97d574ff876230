// What becomes of devices that are ahead of this server, as after a restored backup: an operator decides, and until then they are
// told nothing.
import { AppError } from '@edgeloop/shared/errors';
import { v7 as uuid } from 'uuid';
import { recordAudit } from '../access/audit.ts';
import { afterCommit, type Transaction } from '../database/open.ts';
import { type VersionWriting, versionKeyOf } from './device-changes.ts';
import type { FleetView, ViewedDevice } from './fleet-view.ts';

/** `follow`: it does what this server says. `keep`: it stays with what it runs, until a newer rollout takes it. */
export type Resolution = 'follow' | 'keep';

export interface Resolving {
  actor: string;
  devices: readonly ViewedDevice[];
  decision: Resolution;
}

/** Both make a generation above all that the device knows, so that from now on it follows again. */
export async function writeResolution(
  writing: VersionWriting & { view: FleetView },
  { actor, devices, decision }: Resolving,
): Promise<void> {
  const { database, store, view, now } = writing;
  await database.transact(async (tx) => {
    for (const device of devices) {
      if (device.conflictSince === null) throw new AppError('conflict', `device "${device.id}" is not conflicting`);
      const keptWord = decision === 'keep' ? `${uuid()}-kept` : null;
      if (keptWord !== null) await keep(writing, tx, { device, word: keptWord });
      const generation = Math.max(device.desiredGeneration, device.reported?.generation ?? 0) + 1;
      const change = { desiredGeneration: generation, publishedGeneration: generation };
      await store.update(tx, device.id, { ...change, conflictSince: null, keptWord });
      const about = { actor, action: `device.resolve`, subject: `device/${device.id}` };
      const before = { reportedGeneration: device.reported?.generation, desiredGeneration: device.desiredGeneration };
      await recordAudit(database.tables, tx, { at: now(), ...about, before, after: { decision, generation } });
    }
    const ids = devices.map(({ id }) => id);
    afterCommit(tx, () => view.outdate(ids));
  });
}

/** What it runs becomes what it should run. The word is newer than every rollout there is, and older than those to come. */
async function keep(
  { store, claimStore, numbers, now }: VersionWriting,
  tx: Transaction,
  { device: { id, reported }, word }: { device: ViewedDevice; word: string },
): Promise<void> {
  const runs = (reported?.models ?? []).flatMap(({ name, active }) =>
    active?.release === undefined ? [] : [{ model: name, version: active.version, release: active.release }],
  );
  await store.deleteDesired(tx, [id]);
  const signatures = await numbers.signatures(tx, runs);
  for (const each of runs) {
    // What is registered no more cannot be fetched again; it runs as long as the device has it.
    const signature = signatures.get(versionKeyOf(each)) ?? '';
    const row = {
      ...each,
      signature,
      rolloutId: word,
      attempt: null,
      terms: null,
      beside: null,
      since: now(),
    };
    await store.upsertDesired(tx, [id], row);
    await claimStore.remember(tx, [id], each);
  }
}
