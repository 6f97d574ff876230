import 'reflect-metadata';

import { mkdtempSync, rmSync, statSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeJoinToken } from '@edgeloop/shared/join-token';
import { EnrolRequest, type EnrolResponse } from '@edgeloop/shared/messages';
import { Pkcs10CertificateRequest } from '@peculiar/x509';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Problems } from '../problems.ts';
import { pendingWrites } from '../storage/pending-writes-fixture.ts';
import { createDevicePort, textOf } from './device-port.ts';
import { listenHttps, type PortFixture, selfSigned } from './device-port-fixture.ts';
import { enrol } from './enrol.ts';
import { readIdentity, renewalDueAt } from './identity.ts';
import { keepRenewed } from './renewal.ts';

const log = pino({ level: 'silent' });
const asked: EnrolRequest[] = [];
let folder = '';
let server: PortFixture | undefined;
let answerWith: RequestListener = (_request, response) => void response.end();

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'agent-identity-'));
  asked.length = 0;
  server = await listenHttps((request, response) => {
    if (request.url === '/device/v1/ca') response.end(server?.ca);
    else answerWith(request, response);
  });
});
afterEach(() => {
  server?.close();
  rmSync(folder, { recursive: true });
});

const accept: RequestListener = (request, response) => {
  let body = '';
  request.on('data', (piece) => {
    body += piece;
  });
  request.on('end', () => {
    asked.push(EnrolRequest.parse(JSON.parse(body)));
    const answer: EnrolResponse = {
      deviceId: 'gate-7',
      certificate: 'CERT',
      caCertificate: server?.ca ?? '',
      fleetKey: 'KEY',
      mqtt: { hosts: ['localhost'], port: 8883 },
    };
    response.end(JSON.stringify(answer));
  });
};

function join7(options: { hosts?: string[]; caDigest?: string; log?: typeof log; signal?: AbortSignal } = {}) {
  const joinToken = encodeJoinToken({
    hosts: options.hosts ?? ['127.0.0.1'],
    port: server?.port ?? 1,
    caDigest: options.caDigest ?? server?.caDigest ?? '',
    secret: 'a-secret-of-sixteen',
  });
  const signal = options.signal ?? AbortSignal.timeout(60_000);
  return enrol({
    folder,
    joinToken,
    deviceId: 'gate-7',
    labels: { site: 'paris' },
    writes: pendingWrites(),
    log: options.log ?? log,
    signal,
  });
}

describe('enrolment', () => {
  it('sends a self-signed request for its own key and keeps what it is given', async () => {
    answerWith = accept;
    await join7({ hosts: ['host.invalid', '127.0.0.1'] });
    expect(asked[0]).toMatchObject({ secret: 'a-secret-of-sixteen', deviceId: 'gate-7', labels: { site: 'paris' } });
    const csr = new Pkcs10CertificateRequest(asked[0]?.csr ?? '');
    expect(csr.subject).toBe('CN=gate-7');
    expect(await csr.verify()).toBe(true);
    expect(readIdentity(folder)).toMatchObject({
      deviceId: 'gate-7',
      device: { hosts: ['127.0.0.1', 'host.invalid'] },
    });
    expect(statSync(join(folder, 'key.pem')).mode & 0o777).toBe(0o600);
  });

  it('tries again while the server is unavailable', async () => {
    let calls = 0;
    answerWith = (request, response) => {
      calls += 1;
      if (calls === 1) response.writeHead(503).end();
      else accept(request, response);
    };
    expect(await join7()).toMatchObject({ identity: { fleetKey: 'KEY' } });
    expect(calls).toBe(2);
  });

  it.each([
    [-3, /the device's clock is 3 days ahead .*set it/],
    [3, /the device's clock is 3 days behind .*set it/],
  ])('names the clock of a device when the server lives %d days later', async (days, words) => {
    server?.close();
    const now = Date.now() + days * 86_400_000;
    server = await listenHttps((_request, response) => {
      response.setHeader('date', new Date(now).toUTCString());
      response.end(server?.ca);
    }, now - 1000);
    const said: string[] = [];
    const heard = pino({ level: 'warn' }, { write: (line: string) => void said.push(line) });
    const stop = new AbortController();
    const joining = join7({ log: heard, signal: stop.signal });
    await vi.waitUntil(() => said.length > 0, { timeout: 30_000 });
    stop.abort();
    await expect(joining).rejects.toThrow();
    expect(said[0]).toMatch(words);
  });

  it('ends with the reason when the token is used up', async () => {
    answerWith = (_request, response) => {
      const problem = {
        type: 'about:blank',
        title: 'Forbidden',
        status: 403,
        detail: 'the join token is used up',
        code: 'forbidden',
      };
      response.writeHead(403, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem));
    };
    await expect(join7()).rejects.toThrow(/enrolment was refused: .*the join token is used up/);
    expect(readIdentity(folder)).toBeUndefined();
  });

  it("never sends its secret to a server whose CA is not the token's", async () => {
    answerWith = accept;
    await expect(join7({ caDigest: '0'.repeat(64) })).rejects.toThrow(/not the one that the join token names/);
    expect(asked).toEqual([]);
  });
});

describe('renewal of a certificate', () => {
  it('is due when two thirds of its life are over', async () => {
    const from = Date.UTC(2026, 0, 1);
    const { pem } = await selfSigned(from, from + 90 * 86_400_000);
    expect(renewalDueAt(pem)).toBe(from + 60 * 86_400_000);
  });
});

it('a certificate is renewed once and not over and over by a clock that is ahead', async () => {
  const from = Date.now();
  const { pem, keyPem } = await selfSigned(from - 3_600_000, from + 60_000);
  let renewals = 0;
  const identity = {
    ...{ deviceId: 'gate-7', certificate: pem, caCertificate: pem, fleetKey: 'KEY' },
    ...{ device: { hosts: ['127.0.0.1'], port: 1 }, mqtt: { hosts: ['127.0.0.1'], port: 1 } },
  };
  const second = await listenHttps((_request, response) => {
    renewals += 1;
    response.end(JSON.stringify({ certificate: pem }));
  });
  const port = createDevicePort({ hosts: ['127.0.0.1'], port: second.port, tls: { ca: second.ca } });
  const stop = new AbortController();
  const renewed = vi.fn();
  const options = {
    ...{ folder, port, log, writes: pendingWrites(), problems: new Problems(log), identity: () => identity },
    nowMs: () => from + 365 * 86_400_000,
    onRenewed: renewed,
  };
  const renewing = keepRenewed(keyPem, options, stop.signal);
  await vi.waitUntil(() => renewed.mock.calls.length > 0, { timeout: 30_000 });
  // What would be asked for at once is on its way by then.
  await port.send({ method: 'GET', path: '/', signal: stop.signal }).then((answer) => textOf(answer, 10_000));
  stop.abort();
  await renewing;
  await port.close();
  second.close();
  expect(renewals).toBe(2);
});
