// The device's key: ECDSA P-256, made here, kept at mode 0600, never sent anywhere. A certificate request proves it.
import { createPrivateKey, generateKeyPairSync, webcrypto } from 'node:crypto';
import { join } from 'node:path';
import { readIfPresentSync, writeDurablySync } from '@edgeloop/shared/node/durable-files';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** The private key, PKCS#8 PEM; made at the first call. */
export function deviceKey(folder: string): string {
  const path = join(folder, 'key.pem');
  const present = readIfPresentSync(path);
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
