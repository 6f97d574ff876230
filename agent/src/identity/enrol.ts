// Enrolment: a join token becomes a certificate. The token carries the hash of the CA, so the first contact is safe
// although nothing is trusted yet.
import { createHash, X509Certificate } from 'node:crypto';
import { AppError, messageOf, parseJson } from '@edgeloop/shared/errors';
import { decodeJoinToken, type JoinToken } from '@edgeloop/shared/join-token';
import { EnrolResponse } from '@edgeloop/shared/messages';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import type { Labels } from '@edgeloop/shared/selector';
import type { Logger } from 'pino';
import type { PendingWrites } from '../storage/pending-writes.ts';
import { deviceFacts } from './device-facts.ts';
import { createDevicePort, isTransient, textOf } from './device-port.ts';
import { type Credentials, writeIdentity } from './identity.ts';
import { certificateRequest, deviceKey } from './key.ts';

export interface EnrolOptions {
  /** Where key and identity are kept. */
  folder: string;
  joinToken: string;
  deviceId: string;
  labels: Labels;
  writes: PendingWrites;
  log: Logger;
  signal: AbortSignal;
}

const retry = { firstMs: 500, mostMs: 30_000 };
const answerBytes = 256 * 1024;

/**
 * Enrols, trying every host of the token, again and again while nobody answers.
 * @throws AppError `forbidden` when the control plane refuses (used-up token, name taken) or is not the token's
 */
export async function enrol(options: EnrolOptions): Promise<Credentials> {
  const token = decodeJoinToken(options.joinToken);
  for (let failures = 1; ; failures += 1) {
    try {
      const credentials = await enrolOnce(token, options);
      const { identity } = credentials;
      options.writes.write('identity', () => writeIdentity(options.folder, identity));
      options.log.info({ deviceId: identity.deviceId }, 'enrolled');
      return credentials;
    } catch (error) {
      options.signal.throwIfAborted();
      if (!isTransient(error))
        throw new AppError('forbidden', `enrolment was refused: ${messageOf(error)}`, { cause: error });
      const waitMs = backoffMs(failures, retry);
      options.log.warn({ reason: messageOf(error), waitMs }, 'enrolment has to wait');
      if (!(await pause(waitMs, options.signal))) options.signal.throwIfAborted();
    }
  }
}

async function enrolOnce(token: JoinToken, options: EnrolOptions): Promise<Credentials> {
  const { host, ca } = await findHost(token, options.signal);
  const key = deviceKey(options.folder);
  const csr = await certificateRequest(key, options.deviceId);
  const hosts = [host, ...token.hosts.filter((each) => each !== host)];
  const port = createDevicePort({ hosts, port: token.port, tls: { ca } });
  try {
    const { deviceId, labels, signal } = options;
    const json = { secret: token.secret, deviceId, csr, labels, facts: deviceFacts() };
    const answer = await port.send({ method: 'POST', path: '/device/v1/enroll', json, signal });
    const response = parseJson(EnrolResponse, await textOf(answer, answerBytes), 'enrolment answer', 'integrity');
    requireDigest(response.caCertificate, token);
    const { certificate, caCertificate, fleetKey, mqtt, releaseKeys } = response;
    const trust = releaseKeys && { ...releaseKeys, ordersSigned: true };
    const device = { hosts, port: token.port };
    const identity = { deviceId: response.deviceId, certificate, caCertificate, fleetKey, trust, device, mqtt };
    return { identity, key };
  } finally {
    await port.close();
  }
}

/** The first host that shows the CA that the token names. */
async function findHost(token: JoinToken, signal: AbortSignal): Promise<{ host: string; ca: string }> {
  const failures: unknown[] = [];
  for (const host of token.hosts) {
    const port = createDevicePort({ hosts: [host], port: token.port, tls: {} });
    try {
      const answer = await port.send({ method: 'GET', path: '/device/v1/ca', signal });
      const ca = await textOf(answer, answerBytes);
      requireDigest(ca, token);
      return { host, ca };
    } catch (error) {
      signal.throwIfAborted();
      failures.push(error);
    } finally {
      await port.close();
    }
  }
  // One host that is merely away may be the right one; only when all are wrong is there nothing to wait for.
  throw failures.find(isTransient) ?? failures[0];
}

function requireDigest(caPem: string, token: JoinToken): void {
  let der: Buffer;
  try {
    der = new X509Certificate(caPem).raw;
  } catch (cause) {
    throw new AppError('integrity', `the control plane's CA certificate cannot be read: ${messageOf(cause)}`, {
      cause,
    });
  }
  if (createHash('sha256').update(der).digest('hex') !== token.caDigest)
    throw new AppError('integrity', 'the CA certificate is not the one that the join token names; make a new token');
}
