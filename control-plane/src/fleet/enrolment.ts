// How devices come in, stay and go: enrolment with a join token, renewal of certificates, removal, and the word of an
// operator that a removed one may come again. Who is let in is decided here for both ports.
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import { AppError } from '@edgeloop/shared/errors';
import type { EnrolRequest, EnrolResponse, RenewResponse } from '@edgeloop/shared/messages';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { recordAudit } from '../access/audit.ts';
import type { Authority, IssuedCertificate } from '../access/authority.ts';
import type { JoinTokens } from '../access/join-tokens.ts';
import type { Database } from '../database/open.ts';
import { isStorageFailure } from '../database/storage-failure.ts';
import type { DevicePeer } from '../http/device-router.ts';
import { current, known, removal, type Writing } from './device-changes.ts';
import { createFleetStore, type DeviceRow } from './fleet-store.ts';

export interface EnrolmentDeps {
  database: Database;
  authority: Authority;
  joinTokens: JoinTokens;
  /** Where devices reach the broker; known once its port is open. */
  mqtt: () => { hosts: string[]; port: number };
  /** Called after a device came in, so that it finds its desired state. */
  joined: (deviceId: string) => Promise<void>;
  /** Called after a device was removed: ends its session and forgets its messages. */
  removed: (deviceId: string) => Promise<void>;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  log: Logger;
}
export type Enrolment = ReturnType<typeof createEnrolment>;

export function createEnrolment(deps: EnrolmentDeps) {
  const { database, authority, joinTokens, now, notify, log } = deps;
  const store = createFleetStore(database.tables);
  const writing: Writing = { database, store, now };

  return {
    /**
     * Lets a device in. Asking again with the same key gives a new certificate and costs no use of the token.
     * @throws AppError `unauthorized` or `forbidden` by the token, `forbidden` for a device that was removed, whether it
     * comes with its id or with its key, `conflict` when the id belongs to another key
     */
    async enrol(request: EnrolRequest): Promise<EnrolResponse> {
      await joinTokens.check(request.secret);
      const issued = await authority.issue(request.deviceId, request.csr);
      await writeAdmission({ ...writing, joinTokens }, request, issued);
      await deps.joined(request.deviceId);
      notify({ type: 'device', id: request.deviceId, state: 'enrolled' });
      log.info({ deviceId: request.deviceId }, 'device enrolled');
      return {
        deviceId: request.deviceId,
        certificate: issued.certificate,
        caCertificate: authority.caCertificate,
        fleetKey: authority.ring.publicKey(),
        releaseKeys: authority.ring.trusted(),
        mqtt: deps.mqtt(),
      };
    },

    /** A new certificate for a device that is let in; the present one is accepted until the new one was used. */
    async renew(peer: DevicePeer, csr: string): Promise<z.infer<typeof RenewResponse>> {
      const issued = await authority.issue(peer.deviceId, csr);
      await writeRenewal(writing, peer, issued);
      return { certificate: issued.certificate };
    },

    /** Whether the holder of this certificate, which our authority signed, may connect now. */
    async admits(peer: DevicePeer): Promise<boolean> {
      const row = await store.access(database.read, peer.deviceId);
      if (row === undefined || row.revokedAt !== null) return false;
      if (row.certificateSerial !== peer.serial) return row.previousSerial === peer.serial;
      if (row.previousSerial !== null) await retirePrevious(peer);
      return true;
    },

    /** Takes a device's access away, forgets what it should run, and bars its id and its key until `readmit`. */
    async remove(actor: string, deviceId: string): Promise<void> {
      await writeRemoval(writing, actor, deviceId);
      await deps.removed(deviceId);
      notify({ type: 'device', id: deviceId, state: 'removed' });
      log.info({ deviceId, actor }, 'device removed');
    },

    /**
     * Lets a removed device join again, by its id and with its key; its certificate stays refused.
     * @throws AppError `not_found`; `conflict` when it was not removed
     */
    async readmit(actor: string, deviceId: string): Promise<void> {
      await writeReadmission(writing, actor, deviceId);
      notify({ type: 'device', id: deviceId, state: 'readmitted' });
      log.info({ deviceId, actor }, 'device readmitted');
    },
  };

  /** The newest certificate was used, so the one before it is refused from now on. */
  async function retirePrevious({ deviceId, serial }: DevicePeer): Promise<void> {
    try {
      await database.share(async (tx) => {
        const row = await store.device(tx, deviceId);
        if (row?.certificateSerial === serial) await store.update(tx, deviceId, { previousSerial: null });
      });
    } catch (error) {
      // A device is not kept out by what cannot be written down now: its next connection brings it here again.
      if (!isStorageFailure(error)) throw error;
    }
  }
}

async function writeAdmission(
  { database, store, joinTokens, now }: Writing & Pick<EnrolmentDeps, 'joinTokens'>,
  request: EnrolRequest,
  issued: IssuedCertificate,
): Promise<void> {
  await database.share(async (tx) => {
    const before = await store.device(tx, request.deviceId);
    const barred = before?.revokedAt && before.readmittedAt === null ? before : undefined;
    const removed = barred ?? (await store.barredByKey(tx, issued.keyDigest));
    if (removed !== undefined) throw new AppError('forbidden', `device "${removed.id}" ${removal(removed)}`);
    const again = before !== undefined && before.revokedAt === null;
    if (again && before.keyDigest !== issued.keyDigest) throw taken(request.deviceId);
    const token = await joinTokens.use(tx, request.secret, { again });
    const labels = again ? before.labels : { ...request.labels, ...token.labels };
    const row = toRow({ request, issued, labels, before, again, at: now() });
    if (before === undefined) await store.insert(tx, row);
    else await store.update(tx, row.id, row);
    const about = { actor: `device:${row.id}`, action: 'device.enrol', subject: `device/${row.id}` };
    const after = { labels, joinToken: token.id, serial: issued.serial };
    await recordAudit(database.tables, tx, { at: now(), ...about, after });
  });
}

async function writeRenewal(
  { database, store, now }: Writing,
  { deviceId, serial: previousSerial }: DevicePeer,
  { serial, keyDigest }: IssuedCertificate,
): Promise<void> {
  await database.share(async (tx) => {
    const { certificateSerial, previousSerial: former } = await current(store, tx, deviceId);
    // It may have been removed, readmitted and enrolled anew since its certificate was checked.
    if (previousSerial !== certificateSerial && previousSerial !== former)
      throw new AppError('unauthorized', `device "${deviceId}" has a newer certificate than the one it renews`);
    await store.update(tx, deviceId, { certificateSerial: serial, previousSerial, keyDigest });
    const about = { actor: `device:${deviceId}`, action: 'device.renew', subject: `device/${deviceId}` };
    await recordAudit(database.tables, tx, { at: now(), ...about, after: { serial } });
  });
}

async function writeRemoval({ database, store, now }: Writing, actor: string, deviceId: string): Promise<void> {
  await database.transact(async (tx) => {
    const row = await known(store, tx, deviceId);
    // One that was readmitted and has not joined yet is barred again.
    const {
      labels,
      certificateSerial: serial,
      desiredGeneration,
    } = row.readmittedAt === null ? await current(store, tx, deviceId) : row;
    await store.deleteDesired(tx, [deviceId]);
    await store.update(tx, deviceId, {
      revokedAt: now(),
      readmittedAt: null,
      status: 'offline',
      session: null,
      desiredGeneration: desiredGeneration + 1,
    });
    const about = { actor, action: 'device.remove', subject: `device/${deviceId}` };
    await recordAudit(database.tables, tx, { at: now(), ...about, before: { labels, serial } });
  });
}

async function writeReadmission({ database, store, now }: Writing, actor: string, deviceId: string): Promise<void> {
  await database.transact(async (tx) => {
    const { revokedAt, readmittedAt } = await known(store, tx, deviceId);
    if (revokedAt === null)
      throw new AppError('conflict', `device "${deviceId}" was not removed; there is nothing to do`);
    if (readmittedAt !== null) return;
    const at = now();
    await store.update(tx, deviceId, { readmittedAt: at });
    const about = { actor, action: 'device.readmit', subject: `device/${deviceId}` };
    await recordAudit(database.tables, tx, { at, ...about, before: { revokedAt }, after: { readmittedAt: at } });
  });
}

function taken(deviceId: string): AppError {
  return new AppError(
    'conflict',
    `device "${deviceId}" is enrolled already, with another key; choose another EDGELOOP_DEVICE_ID, or remove the old device first: edgeloop devices remove ${deviceId}`,
  );
}

interface Admission {
  request: EnrolRequest;
  issued: IssuedCertificate;
  labels: Record<string, string>;
  before: DeviceRow | undefined;
  /** The device is in already and lost the answer. */
  again: boolean;
  at: number;
}

function toRow({ request, issued, labels, before, again, at }: Admission) {
  const present = again ? before : undefined;
  return {
    id: request.deviceId,
    labels,
    enrolledAt: present?.enrolledAt ?? at,
    revokedAt: null,
    readmittedAt: null,
    certificateSerial: issued.serial,
    previousSerial: present?.certificateSerial ?? null,
    keyDigest: issued.keyDigest,
    status: present?.status ?? 'never_connected',
    session: present?.session ?? null,
    lastSeenAt: present?.lastSeenAt ?? null,
    // Generations only grow, also when an id is used again.
    desiredGeneration: before?.desiredGeneration ?? 0,
    publishedGeneration: before?.publishedGeneration ?? before?.desiredGeneration ?? 0,
    conflictSince: present?.conflictSince ?? null,
    keptWord: present?.keptWord ?? null,
    instances: present?.instances ?? null,
    reported: present?.reported ?? null,
    reportedAt: present?.reportedAt ?? null,
    facts: request.facts,
  };
}
