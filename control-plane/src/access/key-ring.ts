// The keys that sign for the fleet: one signs, all in the newest list are trusted. Each change of the list is signed by a key of the
// list before, and all changes are kept, so that a device which was away follows from the list that it knows.
//
// `fleet.key` in the data folder is the private key that signs; `release-keys.json` holds the signed lists since the first.
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { AppError, messageOf, parseJson } from '@edgeloop/shared/errors';
import { sha256 } from '@edgeloop/shared/node/digests';
import { readIfPresent, writeDurably } from '@edgeloop/shared/node/durable-files';
import { createFleetKey, signDocument, signRelease, verifyDocument } from '@edgeloop/shared/node/signing';
import { KeyList, SignedDocument } from '@edgeloop/shared/signed-documents';
import { z } from 'zod';

const Lists = z.object({ lists: z.array(SignedDocument) });
const secretMode = 0o600;
const keysAtMost = 20;

/** A key of the newest list. */
export interface RingKey {
  /** First 16 hex digits of the SHA-256 of the key, SPKI DER. */
  id: string;
  /** SPKI PEM. */
  publicKey: string;
  /** It signs what is signed from now on. */
  signs: boolean;
}

export type KeyRing = Awaited<ReturnType<typeof openKeyRing>>;

/** @throws AppError `integrity` for damaged files, which are never made anew: every device trusts these keys */
export async function openKeyRing(dataDir: string) {
  const keyPath = join(dataDir, 'fleet.key');
  const listsPath = join(dataDir, 'release-keys.json');
  let signing = await openSigningKey(keyPath);
  /** Asked for with each order that is signed; writing it out takes longer than the signature. */
  let signingPem = publicPemOf(signing);
  let lists = await openLists(listsPath);
  let trusted = newestOf(lists, listsPath) ?? { serial: 0, keys: [signingPem] };
  if (!trusted.keys.includes(signingPem))
    throw damaged(keyPath, 'it is none of the keys in release-keys.json', undefined);

  const idOf = (pem: string): string =>
    sha256(createPublicKey(pem).export({ type: 'spki', format: 'der' })).slice(0, 16);

  /** The list is on disk before anything is signed by a key that is only in it. */
  async function trust(keys: string[]): Promise<void> {
    const next: KeyList = { serial: trusted.serial + 1, keys };
    const longer = [...lists, signDocument('keys', JSON.stringify(next), signing)];
    await writeDurably(listsPath, `${JSON.stringify({ lists: longer })}\n`, secretMode);
    lists = longer;
    trusted = next;
  }

  return {
    /** SPKI PEM of the key that signs. */
    publicKey: (): string => signingPem,
    trusted: (): KeyList => trusted,
    /** Every change since the first list, oldest first. */
    lists: (): readonly SignedDocument[] => lists,
    keys: (): RingKey[] =>
      trusted.keys.map((publicKey) => ({
        id: idOf(publicKey),
        publicKey,
        signs: publicKey === signingPem,
      })),
    signRelease: (digest: string): string => signRelease(digest, signing),
    signOrder: (document: string): SignedDocument => signDocument('order', document, signing),

    /** Makes a new key, which signs from now on; the one before stays trusted until it is retired. */
    async renew(): Promise<RingKey> {
      const { privateKeyPem, publicKeyPem } = createFleetKey();
      requireRoom(trusted);
      await trust([...trusted.keys, publicKeyPem]);
      await writeDurably(keyPath, privateKeyPem, secretMode);
      signing = createPrivateKey(privateKeyPem);
      signingPem = publicPemOf(signing);
      return { id: idOf(publicKeyPem), publicKey: publicKeyPem, signs: true };
    },

    /** Trusts a key whose private half lies elsewhere. @throws AppError `invalid_request` for what is none, `conflict` */
    async add(pem: string): Promise<RingKey> {
      const publicKey = publicKeyOf(pem);
      if (trusted.keys.includes(publicKey)) throw new AppError('conflict', `key ${idOf(publicKey)} is trusted already`);
      requireRoom(trusted);
      await trust([...trusted.keys, publicKey]);
      return { id: idOf(publicKey), publicKey, signs: false };
    },

    /** Devices believe it no more, as soon as they hear of it. @throws AppError `not_found`; `conflict` for the one that signs */
    async retire(id: string): Promise<void> {
      const publicKey = trusted.keys.find((pem) => idOf(pem) === id);
      if (publicKey === undefined) throw new AppError('not_found', `there is no release key ${id}`);
      if (publicKey === signingPem)
        throw new AppError(
          'conflict',
          `key ${id} signs for the fleet; add another one first, which signs from then on`,
        );
      await trust(trusted.keys.filter((pem) => pem !== publicKey));
    },
  };
}

async function openSigningKey(path: string): Promise<KeyObject> {
  const present = await readIfPresent(path);
  if (present === undefined) {
    const { privateKeyPem } = createFleetKey();
    await writeDurably(path, privateKeyPem, secretMode);
    return createPrivateKey(privateKeyPem);
  }
  try {
    const key = createPrivateKey(present);
    if (key.asymmetricKeyType === 'ed25519') return key;
    throw new Error(`it holds a key for ${key.asymmetricKeyType}`);
  } catch (cause) {
    throw damaged(path, messageOf(cause), cause);
  }
}

async function openLists(path: string): Promise<SignedDocument[]> {
  const text = await readIfPresent(path);
  return text === undefined ? [] : parseJson(Lists, text, path, 'integrity').lists;
}

/** Each list is signed by a key of the one before; whom the first one follows, only devices know. */
function newestOf(lists: readonly SignedDocument[], path: string): KeyList | undefined {
  let newest: KeyList | undefined;
  for (const signed of lists) {
    const list = parseJson(KeyList, signed.document, path, 'integrity');
    const follows =
      newest === undefined || (list.serial === newest.serial + 1 && verifyDocument('keys', signed, newest.keys));
    if (!follows) throw damaged(path, `list ${list.serial} is not signed by a key of the one before`, undefined);
    newest = list;
  }
  return newest;
}

function damaged(path: string, why: string, cause: unknown): AppError {
  const message = `${path} is damaged (${why}); restore it from a backup: devices trust no other`;
  return new AppError('integrity', message, { cause });
}

function publicPemOf(key: KeyObject): string {
  return createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString();
}

/** In the one form that all have here. */
function publicKeyOf(pem: string): string {
  try {
    if (pem.includes('PRIVATE KEY')) throw new Error('it is a private key, which must stay where it is');
    const key = createPublicKey(pem);
    if (key.asymmetricKeyType !== 'ed25519') throw new Error(`it is a key for ${key.asymmetricKeyType}`);
    return key.export({ type: 'spki', format: 'pem' }).toString();
  } catch (cause) {
    const message = `publicKey must be an Ed25519 public key in PEM: ${messageOf(cause)}`;
    throw new AppError('invalid_request', message, { cause });
  }
}

function requireRoom({ keys }: KeyList): void {
  if (keys.length >= keysAtMost) throw new AppError('conflict', `${keysAtMost} keys are trusted; retire one first`);
}
