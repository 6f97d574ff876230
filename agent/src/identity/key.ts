// The device's key: ECDSA P-256, made here, kept at mode 0600, never sent anywhere. A certificate request proves it.
import { createPrivateKey, generateKeyPairSync, webcrypto } from 'node:crypto';
import { join } from 'node:path';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { readIfPresentSync, writeDurablySync } from '@edgeloop/shared/node/durable-files';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export function keyPath(folder: string): string {
  return join(folder, 'key.pem');
}

/** The private key, PKCS#8 PEM, or undefined before the first. @throws AppError `integrity` when the file is damaged */
export function readKey(folder: string): string | undefined {
  const path = keyPath(folder);
  const pem = readWhole(path);
  if (pem === undefined) return undefined;
  try {
    createPrivateKey(pem);
  } catch (cause) {
    throw new AppError('integrity', `${path} is damaged: ${messageOf(cause)}`, { cause });
  }
  return pem;
}

/** The file's text, or undefined when there is none. @throws AppError `integrity` when it cannot be read */
export function readWhole(path: string): string | undefined {
  try {
    return readIfPresentSync(path);
  } catch (cause) {
    throw new AppError('integrity', `${path} cannot be read: ${messageOf(cause)}`, { cause });
  }
}

/** The private key; made at the first call. @throws as `readKey` */
export function deviceKey(folder: string): string {
  const path = keyPath(folder);
  const present = readKey(folder);
  if (present !== undefined) return present;
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  writeDurablySync(path, pem, 0o600);
  return pem;
}

/** A PKCS#10 request for `deviceId`, PEM. */
export async function certificateRequest(keyPem: string, deviceId: string): Promise<string> {
  // Loaded when it is needed, once in months: it takes 20 MB.
  await import('reflect-metadata');
  const { Pkcs10CertificateRequestGenerator } = await import('@peculiar/x509');
  const privateJwk = createPrivateKey(keyPem).export({ format: 'jwk' });
  const { d: _secret, ...publicJwk } = privateJwk;
  const keys = {
    privateKey: await webcrypto.subtle.importKey('jwk', privateJwk, algorithm, false, ['sign']),
    publicKey: await webcrypto.subtle.importKey('jwk', publicJwk, algorithm, true, ['verify']),
  };
  const request = await Pkcs10CertificateRequestGenerator.create(
    { name: [{ CN: [deviceId] }], keys, signingAlgorithm: algorithm },
    webcrypto,
  );
  return request.toString('pem');
}
