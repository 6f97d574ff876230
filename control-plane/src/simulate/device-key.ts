// A device's key with its certificate request.
import 'reflect-metadata';
import { createPrivateKey, webcrypto } from 'node:crypto';
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

export interface DeviceKey {
  /** PKCS#8, PEM. */
  keyPem: string;
  /** PEM. */
  csr: string;
}

export async function createDeviceKey(commonName: string): Promise<DeviceKey> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const csr = await Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [commonName] }],
    keys,
    signingAlgorithm: algorithm,
  });
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  return { keyPem: key.export({ type: 'pkcs8', format: 'pem' }).toString(), csr: csr.toString('pem') };
}
