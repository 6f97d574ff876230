// Keeps the client certificate alive: renewed with the same key once two thirds of its life are over.
import { X509Certificate } from 'node:crypto';
import { messageOf, parseJson } from '@edgeloop/shared/errors';
import { RenewResponse } from '@edgeloop/shared/messages';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import type { Logger } from 'pino';
import type { Problems } from '../problems.ts';
import type { PendingWrites } from '../storage/pending-writes.ts';
import { type DevicePort, textOf } from './device-port.ts';
import { type Identity, renewalDueAt, writeIdentity } from './identity.ts';
import { certificateRequest } from './key.ts';

export interface RenewalOptions {
  folder: string;
  port: DevicePort;
  writes: PendingWrites;
  problems: Problems;
  log: Logger;
  /** The wall clock, by the server's where this device's is known to be wrong. */
  nowMs(): number;
  /** As it is now: more than its certificate may change. */
  identity(): Identity;
  /** Called with the identity that holds the new certificate; the disk may take it later. */
  onRenewed(identity: Identity): void;
}

const retry = { firstMs: 5000, mostMs: 3_600_000 };
/** Looked at again this often, because the wall clock may jump. */
const lookAgainMs = 3_600_000;

/** Runs until aborted. A refusal is logged and tried again: a person may lift it before the certificate ends. */
export async function keepRenewed(key: string, options: RenewalOptions, signal: AbortSignal): Promise<void> {
  let failures = 0;
  let renewed = false;
  while (!signal.aborted) {
    const dueInMs = renewalDueAt(options.identity().certificate) - options.nowMs();
    if (dueInMs > 0 || renewed) {
      // By a clock that is ahead, a fresh certificate is due again at once.
      renewed = false;
      await pause(dueInMs > 0 ? Math.min(dueInMs, lookAgainMs) : lookAgainMs, signal);
      continue;
    }
    try {
      const identity = await renew(key, options, signal);
      failures = 0;
      renewed = true;
      options.problems.clear('certificate');
      options.onRenewed(identity);
      options.log.info('client certificate renewed');
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      options.problems.set('certificate', unrenewed(options.identity(), error));
      options.log.warn({ reason: messageOf(error) }, 'the client certificate could not be renewed');
      await pause(backoffMs(failures, retry), signal);
    }
  }
}

async function renew(
  key: string,
  { folder, port, writes, identity }: RenewalOptions,
  signal: AbortSignal,
): Promise<Identity> {
  const csr = await certificateRequest(key, identity().deviceId);
  const answer = await port.send({ method: 'POST', path: '/device/v1/renew', json: { csr }, signal });
  const { certificate } = parseJson(RenewResponse, await textOf(answer, 256 * 1024), 'renewal answer', 'integrity');
  const renewed = { ...identity(), certificate };
  writes.write('identity', () => writeIdentity(folder, renewed));
  return renewed;
}

function unrenewed({ certificate }: Identity, error: unknown): string {
  const until = new Date(new X509Certificate(certificate).validTo).toISOString();
  return `the client certificate, valid until ${until}, cannot be renewed (${messageOf(error)}); it is tried again, and when it is over the device needs to join again`;
}
