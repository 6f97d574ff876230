// The fleet's own trust: the certificate authority that devices pin, the server's certificate, and the Ed25519 keys that
// sign releases and orders. All of it lies in the data folder, made at the first start.
import 'reflect-metadata';
import { createPrivateKey, createPublicKey, webcrypto } from 'node:crypto';
import { join } from 'node:path';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { sha256 } from '@edgeloop/shared/node/digests';
import { readIfPresent, writeDurably } from '@edgeloop/shared/node/durable-files';
import { SubjectAlternativeNameExtension, X509Certificate } from '@peculiar/x509';
import type { Logger } from 'pino';
import { isStorageFailure } from '../database/storage-failure.ts';
import {
  createAuthorityCertificate,
  createKeyPair,
  type Issuer,
  issueClientCertificate,
  issueServerCertificate,
  keyDigestOf,
  readRequest,
} from './certificates.ts';
import { openKeyRing } from './key-ring.ts';

/** PEM key and certificate for a TLS server. */
export interface ServerCredentials {
  key: string;
  cert: string;
}

/** A certificate for a device, and what is remembered of it. */
export interface IssuedCertificate {
  /** PEM. */
  certificate: string;
  /** Lower-case hex. */
  serial: string;
  /** SHA-256 of the device's public key. */
  keyDigest: string;
}

export type Authority = Awaited<ReturnType<typeof openAuthority>>;

const renewBeforeMs = 30 * 86_400_000;
const secretMode = 0o600;

/** Opens or makes the authority in `dataDir`. `publicHosts` are the names that the server's certificate must carry. */
export async function openAuthority(options: {
  dataDir: string;
  publicHosts: readonly string[];
  now: () => number;
  log?: Logger;
}) {
  const { dataDir, publicHosts, now, log } = options;
  const issuer = await openIssuer(join(dataDir, 'ca.pem'), now());
  const ring = await openKeyRing(dataDir);
  const caCertificate = issuer.certificate.toString('pem');

  return {
    /** PEM. */
    caCertificate,
    /** SHA-256 of the CA certificate in DER, as join tokens carry it. */
    caDigest: sha256(new Uint8Array(issuer.certificate.rawData)),
    /** Signs releases and orders. */
    ring,

    /** The server's certificate, made anew when it runs out within 30 days or the names changed. */
    async serverCredentials(): Promise<ServerCredentials> {
      const path = join(dataDir, 'server.pem');
      const present = await readPem(path).catch((error: unknown) => {
        // It is ours to make again: devices pin the authority, not this one.
        log?.warn({ err: error }, 'the server certificate is damaged and made anew');
        return undefined;
      });
      if (present !== undefined && (await serves(present.certificate, issuer, publicHosts, now()))) {
        return { key: present.key, cert: present.certificate.toString('pem') };
      }
      const keys = await createKeyPair();
      const certificate = await issueServerCertificate(issuer, keys.publicKey, publicHosts, now());
      const key = await exportKey(keys.privateKey);
      const credentials = { key, cert: certificate.toString('pem') };
      try {
        await writeDurably(path, `${key}\n${credentials.cert}\n`, secretMode);
      } catch (error) {
        // Good as long as this process lives; the next one makes its own.
        if (!isStorageFailure(error)) throw error;
        log?.warn({ err: error }, 'the new server certificate could not be kept');
      }
      return credentials;
    },

    /**
     * Signs a device's certificate request, for this device id and nothing else.
     * @throws AppError `invalid_request` when the request is malformed or not signed by its own key
     */
    async issue(deviceId: string, csr: string): Promise<IssuedCertificate> {
      const request = await readRequest(csr);
      const certificate = await issueClientCertificate(issuer, request, deviceId, now());
      return {
        certificate: certificate.toString('pem'),
        serial: certificate.serialNumber.toLowerCase(),
        keyDigest: keyDigestOf(request.publicKey),
      };
    },
  };
}

async function openIssuer(path: string, now: number): Promise<Issuer> {
  const present = await readPem(path);
  if (present !== undefined) return undamaged(path, () => importIssuer(present));
  const keys = await createKeyPair();
  const certificate = await createAuthorityCertificate(keys, now);
  await writeDurably(path, `${await exportKey(keys.privateKey)}\n${certificate.toString('pem')}\n`, secretMode);
  return { certificate, privateKey: keys.privateKey };
}

async function importIssuer({ key, certificate }: { key: string; certificate: X509Certificate }): Promise<Issuer> {
  const pair = createPrivateKey(key);
  const privateKey = await webcrypto.subtle.importKey(
    'pkcs8',
    pair.export({ type: 'pkcs8', format: 'der' }),
    { name: 'ECDSA', namedCurve: 'P-256' },
    true,
    ['sign'],
  );
  const own = createPublicKey(pair).export({ type: 'spki', format: 'der' });
  if (!own.equals(Buffer.from(certificate.publicKey.rawData))) throw new Error('key and certificate are no pair');
  return { certificate, privateKey };
}

/** What the fleet's trust hangs on is never made anew by itself: every device pins it. */
async function undamaged<T>(path: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    throw new AppError(
      'integrity',
      `${path} is damaged (${messageOf(cause)}); restore it from a backup: devices trust no other`,
      { cause },
    );
  }
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    .export({ type: 'pkcs8', format: 'pem' })
    .toString()
    .trim();
}

/** Key and certificate lie in one file, so that neither is ever there without the other. */
async function readPem(path: string): Promise<{ key: string; certificate: X509Certificate } | undefined> {
  const text = await readIfPresent(path);
  if (text === undefined) return undefined;
  const key = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----/.exec(text)?.[0];
  const certificate = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(text)?.[0];
  if (key === undefined || certificate === undefined)
    throw new AppError('integrity', `${path} must hold a key and a certificate in PEM; restore it from a backup`);
  return undamaged(path, () => ({ key, certificate: new X509Certificate(certificate) }));
}

async function serves(
  certificate: X509Certificate,
  issuer: Issuer,
  hosts: readonly string[],
  now: number,
): Promise<boolean> {
  const names = certificate.getExtension(SubjectAlternativeNameExtension)?.names.toJSON() ?? [];
  const carried = new Set(names.map((name) => name.value));
  const signed = await certificate.verify({ publicKey: issuer.certificate.publicKey, signatureOnly: true });
  const timely = certificate.notAfter.getTime() - now > renewBeforeMs;
  return signed && timely && carried.size === new Set(hosts).size && hosts.every((host) => carried.has(host));
}
