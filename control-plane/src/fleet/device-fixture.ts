// A device as the tests need one: a key of its own, a certificate request, enrolment over HTTPS, an MQTT session.
import { request } from 'node:https';
import { type EnrolRequest, EnrolResponse } from '@edgeloop/shared/messages';
import { connect, connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import { createDeviceKey as createKeyFor, type DeviceKey } from '../simulate/device-key.ts';

export type { DeviceKey };

/** Of the request the subject is a lie, to see that it is not believed. */
export const createDeviceKey = (): Promise<DeviceKey> => createKeyFor('somebody-else');

export const facts: EnrolRequest['facts'] = {
  agentVersion: '0.1.0',
  nodeVersion: process.version,
  platform: 'linux',
  arch: 'x64',
  cpus: 2,
  cpuModel: 'test',
  memoryBytes: 1,
  hostname: 'test',
};

export interface Answer {
  status: number;
  body: string;
}

interface Credentials {
  ca: string;
  key?: string;
  cert?: string;
}

/** One HTTPS request to the device port of this machine. */
export function ask(
  port: number,
  { method, path, body, ...tls }: { method: string; path: string; body?: unknown } & Credentials,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, method, path, agent: false, ...tls };
    const sent = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
      );
    });
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Enrols over HTTPS. @throws Error with the answer when it is refused */
export async function enrolOver(
  port: number,
  ca: string,
  wanted: { secret: string; deviceId: string; key: DeviceKey; labels?: Record<string, string> },
): Promise<EnrolResponse> {
  const { secret, deviceId, key, labels = {} } = wanted;
  const body = { secret, deviceId, csr: key.csr, labels, facts };
  const answer = await ask(port, { method: 'POST', path: '/device/v1/enroll', body, ca });
  if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`);
  return EnrolResponse.parse(JSON.parse(answer.body));
}

/** An MQTT session with the device's certificate; it does not connect again by itself. */
export function connectDevice(
  enrolled: EnrolResponse,
  key: DeviceKey,
  options: IClientOptions = {},
): Promise<MqttClient> {
  const own = { cert: enrolled.certificate, key: key.keyPem };
  return connectAsync(brokerOf(enrolled), { ...optionsOf(enrolled), ...own, ...options });
}

/** How a connection with these credentials ends: a refused TLS handshake is no error to the MQTT client, only a close. */
export function tryToConnect(
  enrolled: EnrolResponse,
  credentials: { cert?: string; key?: string },
): Promise<'connected' | 'closed'> {
  return new Promise((resolve) => {
    const session = connect(brokerOf(enrolled), { ...optionsOf(enrolled), ...credentials });
    session.on('error', () => undefined);
    session.once('connect', () => resolve('connected'));
    session.once('close', () => resolve('closed'));
  });
}

const brokerOf = (enrolled: EnrolResponse) => `mqtts://127.0.0.1:${enrolled.mqtt.port}`;

function optionsOf(enrolled: EnrolResponse): IClientOptions {
  return {
    clientId: enrolled.deviceId,
    ca: enrolled.caCertificate,
    protocolVersion: 4,
    reconnectPeriod: 0,
    connectTimeout: 30_000,
  };
}
