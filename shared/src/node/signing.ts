// Ed25519 (RFC 8032) over release documents.
import { createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import type { Sha256 } from '../identifiers.ts';
import { releaseSigningInput } from '../release.ts';

/** A new fleet key: PKCS#8 and SPKI, PEM. */
export function createFleetKey(): { privateKeyPem: string; publicKeyPem: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKeyPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  };
}

/** Base64 signature of a release document, given its SHA-256. */
export function signRelease(releaseDigest: Sha256, privateKey: KeyObject): string {
  return sign(null, releaseSigningInput(releaseDigest), privateKey).toString('base64');
}

export function verifyRelease(releaseDigest: Sha256, signature: string, publicKeyPem: string): boolean {
  const bytes = Buffer.from(signature, 'base64');
  return bytes.length === 64 && verify(null, releaseSigningInput(releaseDigest), createPublicKey(publicKeyPem), bytes);
}
