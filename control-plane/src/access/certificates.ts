// Makes X.509 certificates: the authority's own, the server's, and one per device.
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import { AppError } from '@edgeloop/shared/errors';
import { sha256 } from '@edgeloop/shared/node/digests';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  type PublicKey,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const dayMs = 86_400_000;
const caDays = 7300;
const serverDays = 397;
const clientDays = 90;

/** A certificate with the key that signs below it. */
export interface Issuer {
  certificate: X509Certificate;
  privateKey: webcrypto.CryptoKey;
}

/** An ECDSA P-256 key pair. */
export function createKeyPair(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

export async function createAuthorityCertificate(keys: webcrypto.CryptoKeyPair, now: number): Promise<X509Certificate> {
  return X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: [{ CN: ['Edgeloop fleet authority'] }],
    ...validity(now, caDays),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
}

/** A server certificate for host names and addresses. */
export function issueServerCertificate(
  issuer: Issuer,
  publicKey: webcrypto.CryptoKey,
  hosts: readonly string[],
  now: number,
): Promise<X509Certificate> {
  const names = hosts.map((host) => ({ type: isIP(host) === 0 ? ('dns' as const) : ('ip' as const), value: host }));
  return issue(issuer, publicKey, {
    subject: hosts[0] ?? 'localhost',
    days: serverDays,
    usage: ExtendedKeyUsage.serverAuth,
    more: [new SubjectAlternativeNameExtension(names)],
    now,
  });
}

/** A client certificate whose common name is the device id, whatever the request says. */
export function issueClientCertificate(
  issuer: Issuer,
  request: Pkcs10CertificateRequest,
  deviceId: string,
  now: number,
): Promise<X509Certificate> {
  return issue(issuer, request.publicKey, {
    subject: deviceId,
    days: clientDays,
    usage: ExtendedKeyUsage.clientAuth,
    more: [],
    now,
  });
}

/**
 * Reads a certificate request and checks that it is signed with the key that it names.
 * @throws AppError `invalid_request`
 */
export async function readRequest(pem: string): Promise<Pkcs10CertificateRequest> {
  try {
    const request = new Pkcs10CertificateRequest(pem);
    if (await request.verify()) return request;
  } catch (cause) {
    throw new AppError('invalid_request', 'csr: is not a PKCS#10 certificate request in PEM', { cause });
  }
  throw new AppError('invalid_request', 'csr: its signature was not made with the key in it');
}

/** SHA-256 of the public key in SPKI. */
export function keyDigestOf(key: PublicKey): string {
  return sha256(new Uint8Array(key.rawData));
}

interface Subject {
  subject: string;
  days: number;
  usage: ExtendedKeyUsage;
  more: SubjectAlternativeNameExtension[];
  now: number;
}

async function issue(
  issuer: Issuer,
  publicKey: webcrypto.CryptoKey | PublicKey,
  { subject, days, usage, more, now }: Subject,
): Promise<X509Certificate> {
  return X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: [{ CN: [subject] }],
    issuer: issuer.certificate.subjectName,
    ...validity(now, days),
    signingAlgorithm: algorithm,
    publicKey,
    signingKey: issuer.privateKey,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([usage]),
      await AuthorityKeyIdentifierExtension.create(issuer.certificate.publicKey),
      ...more,
    ],
  });
}

/** 16 random bytes, positive and without a leading zero, so that every library writes it the same. */
function serial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

/** From a day ago: clocks of devices are seldom right. */
function validity(now: number, days: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(now - dayMs), notAfter: new Date(now + days * dayMs) };
}
