// A join token carries all a new device needs: where the control plane is, the hash of the CA to trust, a secret.
import { z } from 'zod';
import { AppError, parseJson } from './errors.ts';
import { Sha256 } from './identifiers.ts';

const prefix = 'edgeloop-join-';

export const JoinToken = z.object({
  /** Host names or addresses of the device port, tried in order. */
  hosts: z.array(z.string().min(1)).min(1),
  port: z.number().int().min(1).max(65535),
  /** SHA-256 of the CA certificate in DER. */
  caDigest: Sha256,
  secret: z.string().min(16),
});
export type JoinToken = z.infer<typeof JoinToken>;

export function encodeJoinToken(token: JoinToken): string {
  return prefix + Buffer.from(JSON.stringify(token)).toString('base64url');
}

/** @throws AppError `invalid_request` when the text is not a join token */
export function decodeJoinToken(text: string): JoinToken {
  if (!text.startsWith(prefix))
    throw new AppError(
      'invalid_request',
      `a join token starts with "${prefix}"; make one with: edgeloop join-tokens create`,
    );
  return parseJson(JoinToken, Buffer.from(text.slice(prefix.length), 'base64url').toString('utf8'), 'join token');
}
