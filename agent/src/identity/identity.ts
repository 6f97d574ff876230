// Who this device is to its fleet, as enrolment left it: one file, replaced whole.
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { parseJson } from '@edgeloop/shared/errors';
import { DeviceId } from '@edgeloop/shared/identifiers';
import { readIfPresentSync, writeDurablySync } from '@edgeloop/shared/node/durable-files';
import { z } from 'zod';

const Address = z.object({ hosts: z.array(z.string()).min(1), port: z.number().int() });

export const Identity = z.object({
  deviceId: DeviceId,
  /** Client certificate and the fleet's CA, PEM. */
  certificate: z.string(),
  caCertificate: z.string(),
  /** Ed25519 public key that signs releases, SPKI PEM; pinned here for good. */
  fleetKey: z.string(),
  device: Address,
  mqtt: Address,
});
export type Identity = z.infer<typeof Identity>;

/** The identity in `folder`, or undefined before enrolment. @throws AppError `integrity` when the file is damaged */
export function readIdentity(folder: string): Identity | undefined {
  const text = readIfPresentSync(join(folder, 'identity.json'));
  return text === undefined ? undefined : parseJson(Identity, text, join(folder, 'identity.json'), 'integrity');
}

export function writeIdentity(folder: string, identity: Identity): void {
  writeDurablySync(join(folder, 'identity.json'), `${JSON.stringify(identity, null, 2)}\n`, 0o600);
}

/** When a certificate has lived two thirds of its life, in milliseconds since the epoch. */
export function renewalDueAt(certificatePem: string): number {
  const certificate = new X509Certificate(certificatePem);
  const from = Date.parse(certificate.validFrom);
  const to = Date.parse(certificate.validTo);
  return from + ((to - from) * 2) / 3;
}
