// Who this device is to its fleet, as enrolment left it: one file, replaced whole.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { AppError, messageOf, parseJson } from '@edgeloop/shared/errors';
import { DeviceId } from '@edgeloop/shared/identifiers';
import { writeDurablySync } from '@edgeloop/shared/node/durable-files';
import { z } from 'zod';
import { keyPath, readKey, readWhole } from './key.ts';
import { Trust } from './trust.ts';

const Address = z.object({ hosts: z.array(z.string()).min(1), port: z.number().int() });

export const Identity = z.object({
  deviceId: DeviceId,
  /** Client certificate and the fleet's CA, PEM. */
  certificate: z.string(),
  caCertificate: z.string(),
  /** Ed25519 public key that signed for the fleet when this device joined, SPKI PEM. */
  fleetKey: z.string(),
  /** Whom it trusts since then; identities of before have none. */
  trust: Trust.optional(),
  device: Address,
  mqtt: Address,
});
export type Identity = z.infer<typeof Identity>;

/** An identity that can be used, with the key that its certificate is for. */
export interface Credentials {
  identity: Identity;
  /** PKCS#8, PEM. */
  key: string;
}

export function trustOf({ trust, fleetKey }: Identity): Trust {
  return trust ?? { serial: 0, keys: [fleetKey], ordersSigned: false };
}

export function identityPath(folder: string): string {
  return join(folder, 'identity.json');
}

/** The identity in `folder`, or undefined before enrolment. @throws AppError `integrity` when the file is damaged */
export function readIdentity(folder: string): Identity | undefined {
  const path = identityPath(folder);
  const text = readWhole(path);
  if (text === undefined) return undefined;
  return parseJson(Identity, text, path, 'integrity');
}

/**
 * The identity in `folder` with its key, or undefined before enrolment.
 * @throws AppError `integrity` naming the file that is damaged
 */
export function readCredentials(folder: string): Credentials | undefined {
  const identity = readIdentity(folder);
  if (identity === undefined) return undefined;
  const key = readKey(folder);
  const [path, ofKey] = [identityPath(folder), keyPath(folder)];
  if (key === undefined) throw new AppError('integrity', `${ofKey} is missing`);
  certificateOf(identity.caCertificate, path);
  if (!certificateOf(identity.certificate, path).checkPrivateKey(createPrivateKey(key)))
    throw new AppError('integrity', `${ofKey} is not the key of the certificate in ${path}`);
  return { identity, key };
}

function certificateOf(pem: string, path: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new AppError('integrity', `${path} holds a damaged certificate: ${messageOf(cause)}`, { cause });
  }
}

export function writeIdentity(folder: string, identity: Identity): void {
  writeDurablySync(identityPath(folder), `${JSON.stringify(identity, null, 2)}\n`, 0o600);
}

/** When a certificate has lived two thirds of its life, in milliseconds since the epoch. */
export function renewalDueAt(certificatePem: string): number {
  const certificate = new X509Certificate(certificatePem);
  const from = Date.parse(certificate.validFrom);
  const to = Date.parse(certificate.validTo);
  return from + ((to - from) * 2) / 3;
}
