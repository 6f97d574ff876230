import 'reflect-metadata';

import { webcrypto } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeJoinToken } from '@edgeloop/shared/join-token';
import { EnrolRequest, type EnrolResponse } from '@edgeloop/shared/messages';
import { Pkcs10CertificateRequest, X509CertificateGenerator } from '@peculiar/x509';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { listenHttps, type PortFixture } from '../identity/device-port-fixture.ts';
import { readIdentity } from '../identity/identity.ts';
import { Membership } from './membership.ts';

const log = pino({ level: 'silent' });
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const hourMs = 3_600_000;
const handlers = {
  report: () => expect.fail('nobody is connected'),
  onConnected: () => undefined,
  onDesired: () => undefined,
  onAcknowledged: () => undefined,
  onCommand: async () => expect.fail('nobody is connected'),
};

let folder = '';
let server: PortFixture;
let stop: AbortController;
let member: Membership | undefined;
/** Paths that were asked for. */
const asked: string[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'agent-member-'));
  stop = new AbortController();
  asked.length = 0;
  server = await listenHttps(async (request, response) => {
    asked.push(request.url ?? '');
    if (request.url === '/device/v1/ca') {
      response.end(server.ca);
      return;
    }
    const { csr } = EnrolRequest.pick({ csr: true }).parse(JSON.parse(await bodyOf(request)));
    // The first certificate is due for renewal at once.
    const isFirst = request.url === '/device/v1/enroll';
    const certificate = await issue(csr, isFirst ? Date.now() - 10 * hourMs : Date.now());
    const answer: EnrolResponse = {
      deviceId: 'gate-7',
      certificate,
      caCertificate: server.ca,
      fleetKey: 'KEY',
      // Nobody listens there.
      mqtt: { hosts: ['127.0.0.1'], port: 1 },
    };
    response.end(JSON.stringify(isFirst ? answer : { certificate }));
  });
});
afterEach(async () => {
  stop.abort();
  await member?.close();
  server.close();
  rmSync(folder, { recursive: true });
});

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const piece of request) body += piece;
  return body;
}

/** A certificate for the key of a request, valid for eleven hours. */
async function issue(csr: string, notBefore: number): Promise<string> {
  const authority = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.create(
    {
      publicKey: new Pkcs10CertificateRequest(csr).publicKey,
      signingKey: authority.privateKey,
      signingAlgorithm: algorithm,
      subject: 'CN=gate-7',
      issuer: 'CN=Test CA',
      notBefore: new Date(notBefore),
      notAfter: new Date(notBefore + 11 * hourMs),
    },
    webcrypto,
  );
  return certificate.toString('pem');
}

function membership(withToken = true): Membership {
  const token = { hosts: ['127.0.0.1'], port: server.port, caDigest: server.caDigest, secret: 'a-secret-of-sixteen' };
  const joinToken = withToken ? encodeJoinToken(token) : undefined;
  member = new Membership({ folder, joinToken, deviceId: 'asked-for', labels: {}, rereadMs: 60_000, log });
  return member;
}

describe('the membership of a device', () => {
  it('needs a token, and says so before anybody is asked', async () => {
    await expect(membership(false).join(handlers, stop.signal)).rejects.toThrow(/set EDGELOOP_JOIN/);
    expect(asked).toEqual([]);
  });

  it('begins with enrolment: until then there is no way to the control plane, and nothing is told to it', async () => {
    const joining = membership();
    expect(joining).toMatchObject({ deviceId: 'asked-for', fleetKey: undefined, port: undefined });
    joining.reportSoon();
    await joining.join(handlers, stop.signal);
    expect(joining).toMatchObject({ deviceId: 'gate-7', fleetKey: 'KEY', port: expect.anything() });
    expect(readIdentity(folder)).toMatchObject({ deviceId: 'gate-7' });
  });

  it('outlives a restart, without its token, and keeps its certificate alive', async () => {
    const first = membership();
    await first.join(handlers, AbortSignal.any([stop.signal]));
    const enrolledWith = readIdentity(folder)?.certificate;
    await vi.waitUntil(() => readIdentity(folder)?.certificate !== enrolledWith, { timeout: 30_000 });
    stop.abort();
    await first.close();
    stop = new AbortController();
    asked.length = 0;
    const again = membership(false);
    expect(again.deviceId).toBe('gate-7');
    await again.join(handlers, stop.signal);
    expect(asked).toEqual([]);
  });
});
