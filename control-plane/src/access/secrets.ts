// Random secrets and the hashes under which they are stored: 32 random bytes need no slow hash.
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { sha256 } from '@edgeloop/shared/node/digests';

/** 32 random bytes as base64url, behind a prefix that tells what it is. */
export function createSecret(prefix: string): string {
  return prefix + randomBytes(32).toString('base64url');
}

/** Whether a text can be one that `createSecret` made. */
export function isSecret(prefix: string, text: string): boolean {
  return text.startsWith(prefix) && /^[A-Za-z0-9_-]{43}$/.test(text.slice(prefix.length));
}

/** What is stored of a secret. */
export const hashOf = (secret: string): string => sha256(secret);

/** Compares two hashes in constant time. */
export function sameHash(a: string, b: string): boolean {
  const left = Buffer.from(a);
  const right = Buffer.from(b);
  return left.length === right.length && timingSafeEqual(left, right);
}
