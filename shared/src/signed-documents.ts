// Texts that are signed by a key of the fleet, and which keys those are. Each kind of document is signed with its own prefix, so
// that a signature means nothing elsewhere.
import { z } from 'zod';

/** `signature`: Ed25519 over the prefix of its kind and the text, base64. */
export const SignedDocument = z.object({ document: z.string().max(1024 * 1024), signature: z.string().max(200) });
export type SignedDocument = z.infer<typeof SignedDocument>;

export const documentKinds = { order: 'edgeloop-order-v1', keys: 'edgeloop-release-keys-v1' } as const;
export type DocumentKind = keyof typeof documentKinds;

/** What is signed of a document. */
export function documentSigningInput(kind: DocumentKind, document: string): Uint8Array {
  return new TextEncoder().encode(`${documentKinds[kind]}\n${document}`);
}

/**
 * The keys that a fleet trusts from now on, SPKI PEM. Each list follows the one with the serial before and is signed by a key of
 * that one; the first, of serial 0, is what a device got when it joined.
 */
export const KeyList = z.object({
  serial: z.number().int().min(0),
  keys: z.array(z.string().max(1000)).min(1).max(20),
});
export type KeyList = z.infer<typeof KeyList>;
