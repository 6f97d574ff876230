// Ed25519 (RFC 8032) over release documents and other texts of a fleet.
import { createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import type { Sha256 } from '../identifiers.ts';
import { releaseSigningInput } from '../release.ts';
import { type DocumentKind, documentSigningInput, type SignedDocument } from '../signed-documents.ts';

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

/** Whether one of the keys (SPKI PEM) has signed it. */
export function verifyRelease(releaseDigest: Sha256, signature: string, publicKeys: readonly string[]): boolean {
  return isSigned(releaseSigningInput(releaseDigest), signature, publicKeys);
}

export function signDocument(kind: DocumentKind, document: string, privateKey: KeyObject): SignedDocument {
  const signature = sign(null, documentSigningInput(kind, document), privateKey).toString('base64');
  return { document, signature };
}

/** Whether one of the keys (SPKI PEM) has signed it, as a document of this kind. */
export function verifyDocument(
  kind: DocumentKind,
  { document, signature }: SignedDocument,
  publicKeys: readonly string[],
): boolean {
  return isSigned(documentSigningInput(kind, document), signature, publicKeys);
}

function isSigned(input: Uint8Array, signature: string, publicKeys: readonly string[]): boolean {
  const bytes = Buffer.from(signature, 'base64');
  return bytes.length === 64 && publicKeys.some((pem) => verify(null, input, createPublicKey(pem), bytes));
}
