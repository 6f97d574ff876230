import { createPrivateKey } from 'node:crypto';
import { createFleetKey, signDocument } from '@edgeloop/shared/node/signing';
import 'reflect-metadata';

import { webcrypto } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
import { Problems } from '../problems.ts';
import { pendingWrites } from '../storage/pending-writes-fixture.ts';
import { Membership } from './membership.ts';

const log = pino({ level: 'silent' });
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const hourMs = 3_600_000;
const handlers = {
  report: () => expect.fail('nobody is connected'),
  onConnected: () => undefined,
  onDesired: () => undefined,
  onAcknowledged: () => undefined,
  onClock: () => undefined,
  onSent: () => undefined,
  onCommand: async () => expect.fail('nobody is connected'),
};

const fleet = createFleetKey();
let folder = '';
let server: PortFixture;
let stop: AbortController;
let member: Membership | undefined;
let problems: Problems;
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
      fleetKey: fleet.publicKeyPem,
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

function membership(withToken = true, serves = false): Membership {
  const token = { hosts: ['127.0.0.1'], port: server.port, caDigest: server.caDigest, secret: 'a-secret-of-sixteen' };
  const joinToken = withToken ? encodeJoinToken(token) : undefined;
  problems = new Problems(log);
  member = new Membership({
    folder,
    joinToken,
    deviceId: 'asked-for',
    labels: {},
    rereadMs: 60_000,
    writes: pendingWrites(),
    problems,
    serves: () => serves,
    log,
  });
  return member;
}

describe('the membership of a device', () => {
  it('needs a token, and says so before anybody is asked', async () => {
    await expect(membership(false).join(handlers, stop.signal)).rejects.toThrow(/set EDGELOOP_JOIN/);
    expect(asked).toEqual([]);
  });

  it('begins with enrolment: until then there is no way to the control plane, and nothing is told to it', async () => {
    const joining = membership();
    expect(joining).toMatchObject({ deviceId: 'asked-for', trustedKeys: undefined, port: undefined });
    joining.reportSoon();
    await joining.join(handlers, stop.signal);
    expect(joining).toMatchObject({ deviceId: 'gate-7', trustedKeys: [fleet.publicKeyPem], port: expect.anything() });
    expect(readIdentity(folder)).toMatchObject({ deviceId: 'gate-7' });
  });

  it('learns who signs for the fleet, and keeps that over a restart and a renewal of its certificate', async () => {
    const first = membership();
    await first.join(handlers, AbortSignal.any([stop.signal]));
    const enrolledWith = readIdentity(folder)?.certificate;
    const next = createFleetKey();
    const keys = JSON.stringify({ serial: 1, keys: [next.publicKeyPem] });
    const order = {
      deviceId: 'gate-7',
      generation: 1,
      issuedAt: Date.now(),
      expiresAt: Date.now() + hourMs,
      models: [],
    };
    const message = {
      ...{ generation: 0, models: [] },
      releaseKeys: [signDocument('keys', keys, createPrivateKey(fleet.privateKeyPem))],
      order: signDocument('order', JSON.stringify(order), createPrivateKey(next.privateKeyPem)),
    };
    expect(first.heed(message)).toMatchObject({ generation: 1 });
    await vi.waitUntil(() => readIdentity(folder)?.certificate !== enrolledWith, { timeout: 30_000 });
    expect(readIdentity(folder)?.trust).toEqual({ serial: 1, keys: [next.publicKeyPem], ordersSigned: true });
    stop.abort();
    await first.close();
    const second = membership();
    expect(second.trustedKeys).toEqual([next.publicKeyPem]);
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

  describe('whose identity is damaged', () => {
    const spoil = (name: string) => (content: string | undefined) => {
      const path = join(folder, name);
      rmSync(path, { force: true });
      if (content === undefined) mkdirSync(path);
      else writeFileSync(path, content);
    };
    const damages: [string, (whole: string) => string | undefined][] = [
      ['empty', () => ''],
      ['cut short', (whole) => whole.slice(0, whole.length / 2)],
      ['garbage', () => '\0\x01\x02'],
      ['of another kind', () => '[1, 2]'],
      ['a folder', () => undefined],
    ];

    async function enrolled(): Promise<void> {
      await membership().join(handlers, AbortSignal.any([stop.signal]));
      stop.abort();
      await member?.close();
      stop = new AbortController();
      asked.length = 0;
    }

    it.each(damages)('(identity.json is %s) joins again with its key when it has a token', async (_, damage) => {
      await enrolled();
      const key = readFileSync(join(folder, 'key.pem'), 'utf8');
      spoil('identity.json')(damage(readFileSync(join(folder, 'identity.json'), 'utf8')));
      await membership(true, true).join(handlers, stop.signal);
      expect(asked).toContain('/device/v1/enroll');
      expect(readIdentity(folder)).toMatchObject({ deviceId: 'gate-7' });
      expect(readFileSync(join(folder, 'key.pem'), 'utf8')).toBe(key);
      expect(readdirSync(folder).some((name) => name.startsWith('identity.json.damaged-'))).toBe(true);
      expect(problems.list()).toEqual([]);
    });

    it.each(damages)(
      '(key.pem is %s) joins again with a new key, and keeps what is left of the old',
      async (_, damage) => {
        await enrolled();
        const key = readFileSync(join(folder, 'key.pem'), 'utf8');
        spoil('key.pem')(damage(key));
        await membership(true, true).join(handlers, stop.signal);
        expect(asked).toContain('/device/v1/enroll');
        expect(readFileSync(join(folder, 'key.pem'), 'utf8')).not.toBe(key);
        expect(readdirSync(folder).some((name) => name.startsWith('key.pem.damaged-'))).toBe(true);
      },
    );

    it.each(damages)('(identity.json is %s) waits without a token, and says what to do', async (_, damage) => {
      await enrolled();
      spoil('identity.json')(damage(readFileSync(join(folder, 'identity.json'), 'utf8')));
      const joining = membership(false, true).join(handlers, stop.signal);
      await vi.waitUntil(() => problems.list().length > 0);
      expect(problems.list()[0]?.words).toMatch(/identity\.json.*set EDGELOOP_JOIN/);
      expect(asked).toEqual([]);
      stop.abort();
      await expect(joining).rejects.toThrow(/abort/i);
    });
  });

  it('goes on serving when its fleet refuses it', async () => {
    const other = encodeJoinToken({
      hosts: ['127.0.0.1'],
      port: server.port,
      caDigest: 'a'.repeat(64),
      secret: 'a-secret-of-sixteen',
    });
    problems = new Problems(log);
    const options = { folder, deviceId: 'd', labels: {}, rereadMs: 60_000, writes: pendingWrites(), problems, log };
    member = new Membership({ ...options, joinToken: other, serves: () => true });
    const joining = member.join(handlers, stop.signal);
    await vi.waitUntil(() => problems.list().length > 0);
    expect(problems.list()[0]).toMatchObject({ what: 'identity', words: expect.stringContaining('refused') });
    stop.abort();
    await expect(joining).rejects.toThrow(/abort/i);
    member = new Membership({ ...options, joinToken: other, serves: () => false });
    await expect(member.join(handlers, new AbortController().signal)).rejects.toMatchObject({ code: 'forbidden' });
  });
});
