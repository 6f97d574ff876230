import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sha256 } from '@edgeloop/shared/node/digests';
import { verifyRelease } from '@edgeloop/shared/node/signing';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createDeviceKey } from '../fleet/device-fixture.ts';
import { openAuthority } from './authority.ts';

const day = 86_400_000;
let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'edgeloop-ca-'));
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const open = (publicHosts = ['loop.example.com', '10.0.0.7'], now = Date.now) =>
  openAuthority({ dataDir, publicHosts, now });

it('keeps its certificate and keys over restarts, readable by the owner only', async () => {
  const first = await open();
  await first.serverCredentials();
  const second = await open();
  expect(second.caDigest).toBe(first.caDigest);
  expect(second.ring.publicKey()).toBe(first.ring.publicKey());
  expect(await second.serverCredentials()).toEqual(await first.serverCredentials());
  expect(readdirSync(dataDir).sort()).toEqual(['ca.pem', 'fleet.key', 'server.pem']);
  for (const name of readdirSync(dataDir)) expect(statSync(join(dataDir, name)).mode & 0o777).toBe(0o600);
});

it('names the CA by the hash of its DER form', async () => {
  const authority = await open();
  const certificate = new X509Certificate(authority.caCertificate);
  expect(authority.caDigest).toBe(sha256(certificate.raw));
  expect(certificate.ca).toBe(true);
});

it('signs releases with the key that devices are given', async () => {
  const authority = await open();
  const digest = sha256('a release');
  expect(verifyRelease(digest, authority.ring.signRelease(digest), [authority.ring.publicKey()])).toBe(true);
});

it('makes a server certificate for the names asked for, and a new one when they change or it runs out', async () => {
  const { cert } = await (await open()).serverCredentials();
  const certificate = new X509Certificate(cert);
  expect(certificate.checkHost('loop.example.com')).toBe('loop.example.com');
  expect(certificate.checkIP('10.0.0.7')).toBe('10.0.0.7');
  const ca = new X509Certificate((await open()).caCertificate);
  expect(certificate.verify(ca.publicKey)).toBe(true);
  const renamed = await (await open(['other.example.com'])).serverCredentials();
  expect(new X509Certificate(renamed.cert).checkHost('loop.example.com')).toBeUndefined();
  const later = await (await open(['other.example.com'], () => Date.now() + 380 * day)).serverCredentials();
  expect(later.cert).not.toBe(renamed.cert);
});

it('gives a device a client certificate for its id, whatever its request says', async () => {
  const authority = await open();
  const issued = await authority.issue('cam-1', (await createDeviceKey()).csr);
  const certificate = new X509Certificate(issued.certificate);
  expect(certificate.subject).toBe('CN=cam-1');
  expect(certificate.serialNumber.toLowerCase()).toBe(issued.serial);
  expect(certificate.verify(new X509Certificate(authority.caCertificate).publicKey)).toBe(true);
  expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
  expect(certificate.ca).toBe(false);
  const left = new Date(certificate.validTo).getTime() - Date.now();
  expect(Math.round(left / day)).toBe(90);
});

it('refuses a request that is not one, or is not signed with the key in it', async () => {
  const authority = await open();
  await expect(authority.issue('cam-1', 'hello')).rejects.toMatchObject({ code: 'invalid_request' });
  const [a, b] = await Promise.all([createDeviceKey(), createDeviceKey()]);
  const decode = (pem: string) => Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64');
  const forged = decode(a.csr);
  // The signature of another request, with its own length, at the end.
  const other = decode(b.csr);
  other.copy(forged, forged.length - 60, other.length - 60);
  const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${forged.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  await expect(authority.issue('cam-1', pem)).rejects.toMatchObject({ code: 'invalid_request' });
});

it.each([
  ['ca.pem', ''],
  [
    'ca.pem',
    '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
  ],
  ['fleet.key', 'half a ke'],
])('names a damaged %s and what to do, and makes no other one', async (name, text) => {
  await open();
  writeFileSync(join(dataDir, name), text);
  await expect(open()).rejects.toMatchObject({ code: 'integrity', message: expect.stringMatching(`${name}.*backup`) });
  expect(readFileSync(join(dataDir, name), 'utf8')).toBe(text);
});

it('makes a damaged server certificate anew, which no device pins', async () => {
  const first = await open();
  await first.serverCredentials();
  writeFileSync(join(dataDir, 'server.pem'), 'half a');
  const { cert } = await first.serverCredentials();
  expect(cert).toContain('BEGIN CERTIFICATE');
  expect((await first.serverCredentials()).cert).toBe(cert);
});
