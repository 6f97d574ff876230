// Keeps the client certificate alive: renewed with the same key once two thirds of its life are over.
import { messageOf, parseJson } from '@edgeloop/shared/errors';
import { RenewResponse } from '@edgeloop/shared/messages';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import type { Logger } from 'pino';
import { type DevicePort, textOf } from './device-port.ts';
import { type Identity, renewalDueAt, writeIdentity } from './identity.ts';
import { certificateRequest, deviceKey } from './key.ts';

export interface RenewalOptions {
  folder: string;
  port: DevicePort;
  log: Logger;
  /** Called with the identity that holds the new certificate, once it is on disk. */
  onRenewed(identity: Identity): void;
}

const retry = { firstMs: 5000, mostMs: 3_600_000 };
/** Looked at again this often, because the wall clock may jump. */
const lookAgainMs = 3_600_000;

/** Runs until aborted. A refusal is logged and tried again: a person may lift it before the certificate ends. */
export async function keepRenewed(first: Identity, options: RenewalOptions, signal: AbortSignal): Promise<void> {
  let identity = first;
  let failures = 0;
  while (!signal.aborted) {
    const dueInMs = renewalDueAt(identity.certificate) - Date.now();
    if (dueInMs > 0) {
      await pause(Math.min(dueInMs, lookAgainMs), signal);
      continue;
    }
    try {
      identity = await renew(identity, options, signal);
      failures = 0;
      options.onRenewed(identity);
      options.log.info('client certificate renewed');
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      options.log.error({ reason: messageOf(error) }, 'the client certificate could not be renewed');
      await pause(backoffMs(failures, retry), signal);
    }
  }
}

async function renew(identity: Identity, { folder, port }: RenewalOptions, signal: AbortSignal): Promise<Identity> {
  const csr = await certificateRequest(deviceKey(folder), identity.deviceId);
  const answer = await port.send({ method: 'POST', path: '/device/v1/renew', json: { csr }, signal });
  const { certificate } = parseJson(RenewResponse, await textOf(answer, 256 * 1024), 'renewal answer', 'integrity');
  const renewed = { ...identity, certificate };
  writeIdentity(folder, renewed);
  return renewed;
}
