// A device port for tests: real HTTPS on a free port with a certificate made on the spot.
import 'reflect-metadata';

import { createHash, webcrypto, X509Certificate } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { BasicConstraintsExtension, SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export interface PortFixture {
  port: number;
  /** PEM; it is its own CA. */
  ca: string;
  caDigest: string;
  close(): void;
}

/** `now`: when its certificate begins; it is valid for an hour. */
export async function listenHttps(handle: RequestListener, now = Date.now()): Promise<PortFixture> {
  const { pem, keyPem } = await selfSigned(now, now + 3_600_000);
  const server = createServer({ cert: pem, key: keyPem }, handle);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    ca: pem,
    caDigest: createHash('sha256').update(new X509Certificate(pem).raw).digest('hex'),
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A certificate for 127.0.0.1 and localhost, valid between two instants. */
export async function selfSigned(notBefore: number, notAfter: number): Promise<{ pem: string; keyPem: string }> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: '01',
      name: 'CN=Test CA',
      notBefore: new Date(notBefore),
      notAfter: new Date(notAfter),
      signingAlgorithm: algorithm,
      keys,
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new SubjectAlternativeNameExtension([
          { type: 'ip', value: '127.0.0.1' },
          { type: 'dns', value: 'localhost' },
        ]),
      ],
    },
    webcrypto,
  );
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return {
    pem: certificate.toString('pem'),
    keyPem: `-----BEGIN PRIVATE KEY-----\n${der}\n-----END PRIVATE KEY-----\n`,
  };
}
