// The embedded MQTT broker: TLS with client certificates, every device fenced in below its own id. Nothing is queued
// for a device that is away; what should survive is retained or sent again.
import { type AddressInfo, createServer as createListener, type Server } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import {
  type Channel,
  deviceToServer,
  maxPayloadBytes,
  parseTopic,
  serverToDevice,
  topicOfAll,
} from '@edgeloop/shared/topics';
import { Aedes, type AedesPublishPacket, type Client } from 'aedes';
import type { Logger } from 'pino';
import { Admission } from './admission.ts';
import { createFrameLimit } from './frame-limit.ts';
import { ExactRetained } from './retained.ts';
import { createValve } from './valve.ts';

export interface BrokerDeps {
  host: string;
  /** 0 takes a free one. */
  port: number;
  caCertificate: string;
  credentials: { key: string; cert: string };
  /** The device that a verified connection belongs to; undefined refuses it. */
  deviceOf: (socket: TLSSocket) => Promise<string | undefined>;
  log: Logger;
}
export type MessageHandler = (message: { deviceId: string; channel: Channel; payload: Buffer }) => Promise<void>;
/** Room for a topic and headers beside the payload. */
const maxPacketBytes = maxPayloadBytes + 1024;
const slowClientMs = 20_000;
/** Agents give up a connection that is not there after 10 s. */
const admission = { atOnce: 64, patienceMs: 1000, waitMs: 9000 };
const retainedFromDevice: readonly Channel[] = ['reported', 'presence'];

export function createBroker(deps: BrokerDeps) {
  const { log, host, port } = deps;
  const tls = { ca: deps.caCertificate, minVersion: 'TLSv1.2' } as const;
  const sockets = new WeakMap<object, TLSSocket>();
  const sessions = new Map<string, Client>();
  /** Connections whose certificate is being looked at or was, and which are no sessions yet. */
  const joining = new Set<Client>();
  const inHand = new Set<Promise<void>>();
  const valve = createValve();
  let handler: MessageHandler | undefined;
  let listening = false;

  const aedes = createFencedBroker(authenticate, log);
  const server = createServer({
    ...deps.credentials,
    ...tls,
    requestCert: true,
    rejectUnauthorized: true,
    handshakeTimeout: 20_000,
  });
  const entrance = new Admission({ ...admission, begin: (socket) => server.emit('connection', socket) });
  const listener = createListener({ pauseOnConnect: true }, (socket) => {
    // Broken off while it waits; what TLS says of it later is heard there.
    socket.on('error', () => undefined);
    entrance.enter(socket);
  });

  async function authenticate(client: Client): Promise<boolean> {
    const socket = sockets.get(client.conn);
    joining.add(client);
    socket?.once('close', () => joining.delete(client));
    const deviceId = socket === undefined ? undefined : await deps.deviceOf(socket);
    if (deviceId !== undefined && deviceId === client.id) return true;
    log.warn({ clientId: client.id, deviceId }, 'connection refused: no accepted certificate for this client id');
    return false;
  }

  function accept(socket: TLSSocket): void {
    socket.setNoDelay(true);
    sockets.set(socket, socket);
    const within = createFrameLimit(maxPacketBytes);
    valve.fit(socket);
    aedes.handle(socket);
    // After `handle`: the broker reads, this only looks on.
    socket.on('data', (chunk: Buffer) => {
      if (within(chunk)) return;
      log.warn({ address: socket.remoteAddress }, `connection closed: a packet above ${maxPacketBytes} bytes`);
      socket.destroy();
    });
  }

  function receive(packet: AedesPublishPacket, done: () => void): void {
    const topic = parseTopic(packet.topic);
    const payload = Buffer.isBuffer(packet.payload) ? packet.payload : Buffer.from(packet.payload);
    // Empty retained messages clear a topic; they say nothing.
    if (handler === undefined || topic === undefined || payload.length === 0) {
      done();
      return;
    }
    const handled = handler({ ...topic, payload })
      .catch((error: unknown) => log.error({ err: error, ...topic }, 'a message could not be handled'))
      .then(() => {
        inHand.delete(handled);
        done();
      });
    inHand.add(handled);
  }

  aedes.on('client', (client) => {
    sessions.set(client.id, client);
    joining.delete(client);
    const socket = sockets.get(client.conn);
    if (socket !== undefined) entrance.arrived(socket);
  });
  aedes.on('clientDisconnect', (client) => {
    if (sessions.get(client.id) === client) sessions.delete(client.id);
  });
  aedes.on('clientError', (client, error) => log.info({ deviceId: client.id, reason: error.message }, 'session ended'));
  aedes.on('connectionError', (_client, error) => log.info({ reason: error.message }, 'connection ended'));
  server.on('secureConnection', accept);
  server.on('tlsClientError', (error) => log.info({ reason: error.message }, 'TLS handshake refused'));

  return {
    /** Hands a message to the connected subscriber; with `retain` also to later ones. */
    publish(topic: string, payload: string | Buffer, options: { qos: 0 | 1; retain: boolean }): Promise<void> {
      if (Buffer.byteLength(payload) > maxPayloadBytes)
        throw new AppError('payload_too_large', `the message for ${topic} is larger than ${maxPayloadBytes} bytes`);
      return new Promise((resolve, reject) => {
        aedes.publish({ cmd: 'publish', dup: false, topic, payload, ...options }, (error) =>
          error ? reject(new AppError('unavailable', `the broker refused ${topic}: ${messageOf(error)}`)) : resolve(),
        );
      });
    },

    /** The one receiver of what devices publish; a QoS 1 message is acknowledged when it resolves. */
    onMessage(receiver: MessageHandler): void {
      handler = receiver;
    },

    /** Ends a device's session, if there is one, and what would become one. */
    async disconnect(deviceId: string): Promise<void> {
      const clients = [...joining].filter(({ id }) => id === deviceId);
      const session = sessions.get(deviceId);
      if (session !== undefined) clients.push(session);
      await Promise.all(clients.map((client) => new Promise<void>((resolve) => client.close(resolve))));
    },

    /** Devices are not read while it is shut: what they send waits with them. */
    setValve: valve.set,

    isListening: () => listening,
    sessions: () => sessions.size,
    port: () => portOf(listener),

    /** Takes a renewed server certificate into use for new connections. */
    useCredentials: (credentials: { key: string; cert: string }) => server.setSecureContext({ ...credentials, ...tls }),

    /** Starts the broker inside; `open` lets devices in. In between, retained messages can be laid out. */
    async start(): Promise<void> {
      await aedes.listen();
      await Promise.all(
        deviceToServer.map(
          (channel) => new Promise<void>((resolve) => aedes.subscribe(topicOfAll(channel), receive, resolve)),
        ),
      );
    },

    async open(): Promise<void> {
      await listenOn(listener, { host, port });
      listening = true;
    },

    async close(): Promise<void> {
      listening = false;
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      entrance.close();
      handler = undefined;
      valve.set('open');
      await Promise.all(inHand);
      await new Promise<void>((resolve) => aedes.close(resolve));
      await closed;
    },
  };
}

/** The broker inside: every client publishes and hears only what `refusal` and `mayUse` let through. */
function createFencedBroker(authenticate: (client: Client) => Promise<boolean>, log: Logger): Aedes {
  return new Aedes({
    // Unbounded here: a handler that publishes an answer would wait for a slot that it holds itself. What is in
    // flight is bounded by each connection's own reading.
    concurrency: 0,
    persistence: new ExactRetained(),
    drainTimeout: slowClientMs,
    maxTopicLevels: 10,
    keepaliveLimit: 600,
    preConnect: (_client, packet, done) => {
      packet.clean = true;
      done(null, true);
    },
    authenticate: (client, _user, _password, done) => {
      authenticate(client).then(
        (admitted) => done(null, admitted),
        (error: unknown) => {
          log.error({ err: error }, 'a device could not be checked');
          done(null, false);
        },
      );
    },
    authorizePublish: (client, packet, done) => done(refusal(client, packet) ?? null),
    authorizeSubscribe: (client, subscription, done) =>
      done(null, mayUse(client, subscription.topic, serverToDevice) ? subscription : null),
    authorizeForward: (client, packet) => (mayUse(client, packet.topic, serverToDevice) ? packet : null),
  });
}

/** Why a device may not publish this; its connection is closed then, as MQTT 3.1.1 asks. */
function refusal(client: Client | null, packet: { topic: string; payload: string | Buffer; retain: boolean }) {
  if (!mayUse(client, packet.topic, deviceToServer)) return new Error(`publishing to ${packet.topic} is not allowed`);
  if (Buffer.byteLength(packet.payload) > maxPayloadBytes)
    return new Error(`a payload on ${packet.topic} is larger than ${maxPayloadBytes} bytes`);
  const channel = parseTopic(packet.topic)?.channel;
  if (channel === undefined || !retainedFromDevice.includes(channel)) packet.retain = false;
  return undefined;
}

function mayUse(client: Client | null, topic: string, allowed: readonly Channel[]): boolean {
  const parsed = parseTopic(topic);
  return parsed !== undefined && parsed.deviceId === client?.id && allowed.includes(parsed.channel);
}

/** @throws AppError `unavailable` when the port is taken */
function listenOn(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    const refused = (cause: Error) =>
      reject(new AppError('unavailable', `MQTT port ${port} of ${host} cannot be opened: ${cause.message}`, { cause }));
    server.once('error', refused);
    server.listen(port, host, () => {
      server.off('error', refused);
      resolve();
    });
  });
}

function portOf(server: Server): number {
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === 'string')
    throw new AppError('unavailable', 'the broker is not listening yet');
  return address.port;
}
