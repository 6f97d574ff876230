// How simulated devices join: as agents do, with a join token over HTTPS, a connection each.
import { createHash, X509Certificate } from 'node:crypto';
import { request } from 'node:https';
import { AppError, messageOf, Problem, parseJson } from '@edgeloop/shared/errors';
import { decodeJoinToken } from '@edgeloop/shared/join-token';
import { type DeviceFacts, type EnrolRequest, EnrolResponse } from '@edgeloop/shared/messages';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import type { Labels } from '@edgeloop/shared/selector';
import { createDeviceKey } from './device-key.ts';

/** Where to join: a host of the token that answers, and the CA that the token names. */
export interface Door {
  host: string;
  port: number;
  ca: string;
  secret: string;
}

export interface Enrolled {
  deviceId: string;
  /** PEM. */
  key: string;
  certificate: string;
  ca: string;
  mqtt: { hosts: string[]; port: number };
}

/** Nobody takes it for a machine. */
export const simulatedFacts: DeviceFacts = {
  ...{ agentVersion: 'simulated', nodeVersion: process.version, platform: 'simulated', arch: 'simulated' },
  ...{ cpus: 1, cpuModel: 'simulated', memoryBytes: 0, hostname: 'simulated', capabilities: [] },
};

const retry = { firstMs: 500, mostMs: 15_000 };
const attempts = 8;
const answerMs = 60_000;

/** @throws AppError `unavailable` when no host of the token answers, `forbidden` when its CA is another */
export async function findDoor(joinToken: string): Promise<Door> {
  const { hosts, port, caDigest, secret } = decodeJoinToken(joinToken);
  let failure: unknown;
  for (const host of hosts) {
    try {
      // Nothing is trusted yet; the digest in the token says whether this is the right one.
      const { body } = await ask({ host, port, path: '/device/v1/ca', method: 'GET', rejectUnauthorized: false });
      if (createHash('sha256').update(new X509Certificate(body).raw).digest('hex') === caDigest)
        return { host, port, ca: body, secret };
      failure = new AppError('forbidden', 'its CA is not the one that the join token names');
    } catch (error) {
      failure = error;
    }
  }
  const where = `${hosts.join(', ')}, port ${port}`;
  if (failure instanceof AppError) throw failure;
  throw new AppError('unavailable', `no device port answers at ${where} (${messageOf(failure)})`, { cause: failure });
}

/**
 * Joins; tries again while the server is busy.
 * @throws AppError with the server's word when it refuses
 */
export async function enrol(door: Door, { deviceId, labels }: { deviceId: string; labels: Labels }): Promise<Enrolled> {
  const { keyPem, csr } = await createDeviceKey(deviceId);
  const { host, port, ca, secret } = door;
  const body: EnrolRequest = { secret, deviceId, csr, labels, facts: simulatedFacts };
  for (let failures = 1; ; failures += 1) {
    const answer = await ask({ host, port, path: '/device/v1/enroll', method: 'POST', ca }, JSON.stringify(body)).catch(
      (error: unknown) => ({ status: 503, body: messageOf(error) }),
    );
    if (answer.status === 200) {
      const { certificate, caCertificate, mqtt } = parseJson(EnrolResponse, answer.body, 'enrolment answer');
      const hosts = [host, ...mqtt.hosts.filter((each) => each !== host)];
      return { deviceId, key: keyPem, certificate, ca: caCertificate, mqtt: { ...mqtt, hosts } };
    }
    if (![429, 503].includes(answer.status) || failures === attempts) throw refusal(deviceId, answer);
    await pause(backoffMs(failures, retry), new AbortController().signal);
  }
}

interface Answer {
  status: number;
  body: string;
}

function refusal(deviceId: string, { status, body }: Answer): AppError {
  try {
    const { code, detail } = parseJson(Problem, body, 'answer');
    return new AppError(code, `${deviceId} could not join: ${detail}`);
  } catch {
    return new AppError('unavailable', `${deviceId} could not join: ${status} ${body.slice(0, 300)}`);
  }
}

function ask(
  options: { host: string; port: number; path: string; method: string; ca?: string; rejectUnauthorized?: boolean },
  body?: string,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ ...options, agent: false, timeout: answerMs }, (response) => {
      const chunks: Buffer[] = [];
      response.on('error', reject);
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
      );
    });
    sent.on('timeout', () => sent.destroy(new Error(`no answer within ${answerMs / 1000} s`)));
    sent.on('error', reject);
    sent.end(body);
  });
}
