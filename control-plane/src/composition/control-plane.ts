// The control plane as one process: builds everything, starts it in order, and stops it in the reverse order.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppError } from '@edgeloop/shared/errors';
import { writeDurably } from '@edgeloop/shared/node/durable-files';
import type { Logger } from 'pino';
import { accessRoutes } from '../access/routes.ts';
import { createCertificateKeeper } from '../access/server-certificate.ts';
import { backtestRoutes } from '../backtests/routes.ts';
import type { Config } from '../config.ts';
import { dataDeviceRoutes } from '../data/device-routes.ts';
import { dataRoutes } from '../data/routes.ts';
import { startFailure, storageFailure } from '../database/storage-failure.ts';
import { enrolmentDeviceRoutes, fleetDeviceRoutes, fleetRoutes } from '../fleet/routes.ts';
import { createApp } from '../http/app.ts';
import { createDeviceApp } from '../http/device-app.ts';
import { eventRoutes } from '../http/events.ts';
import { listen, listenTls } from '../http/listen.ts';
import { monitoringRoutes } from '../monitoring/routes.ts';
import { registryDeviceRoutes } from '../registry/device-routes.ts';
import { registryRoutes } from '../registry/routes.ts';
import { rolloutRoutes } from '../rollouts/routes.ts';
import { acceptedEncodings } from '../telemetry/payload.ts';
import { telemetryRoutes } from '../telemetry/routes.ts';
import { trainingRoutes } from '../training/routes.ts';
import { version } from '../version.ts';
import { type Closing, createClosing } from './closing.ts';
import type { Ports } from './device-access.ts';
import { createDeviceMessages } from './device-messages.ts';
import { registerFigures } from './figures.ts';
import { createFiguresStore } from './figures-store.ts';
import { type Foundation, layFoundation } from './foundation.ts';
import { buildKeepers } from './keepers.ts';
import { createRetention } from './retention.ts';
import { buildRooms, type Rooms } from './rooms.ts';

export interface ControlPlane {
  /** Address of API and dashboard on this machine. */
  readonly url: string;
  readonly ports: Readonly<Ports & { http: number }>;
  /** Stops accepting, drains, closes everything. What is not done at the deadline is cut. */
  close(deadline: AbortSignal): Promise<void>;
}

const maxImportBytes = 2 * 1024 ** 3;
const dashboardDir = fileURLToPath(new URL('../../dist/dashboard', import.meta.url));

/**
 * Starts a control plane; resolves when all its ports are open.
 * @throws AppError `conflict` when another server uses the data folder, `unavailable` when a port is taken
 */
export async function startControlPlane(options: {
  config: Config;
  log: Logger;
  now?: () => number;
}): Promise<ControlPlane> {
  const { config, log, now = Date.now } = options;
  const closing = createClosing(log);
  try {
    const base = await layFoundation({ config, log, now, closing });
    const ports: Ports = { device: 0, mqtt: 0 };
    const rooms = await buildRooms(base, ports);
    await startRooms(base, rooms, closing);
    await openDevicePorts(base, rooms, { ports, closing });
    await startLoops(base, rooms, closing);
    const http = await openOperatorsPort(base, rooms, closing);
    const url = urlOf(config.http.host, http);
    const all = { ...ports, http };
    await announce(base, { url, ports: all }, closing);
    log.info({ url, ...all, version }, 'control plane is up');
    return { url, ports: all, close: (deadline) => closing.run(deadline) };
  } catch (error) {
    await closing.run(AbortSignal.timeout(10_000));
    throw startFailure(error, config.dataDir) ?? error;
  }
}

/** As programs on this machine reach it. */
function urlOf(listening: string, port: number): string {
  const host = ['0.0.0.0', '::'].includes(listening) ? '127.0.0.1' : listening;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Everything that works by itself, from the ground up. */
async function startRooms(
  { database, metrics, log, events, now }: Foundation,
  rooms: Rooms,
  closing: Closing,
): Promise<void> {
  const { broker, fleet, registry, telemetry } = rooms;
  await fleet.start();
  await registry.start();
  closing.add('registry', () => registry.close());
  closing.add('telemetry', () => telemetry.close());
  await broker.start();
  closing.add('broker', () => broker.close());
  broker.onMessage(
    createDeviceMessages({
      onReported: fleet.onReported,
      onPresence: fleet.onPresence,
      ingest: telemetry.take,
      accepts: acceptedEncodings,
      malformed: telemetry.malformed,
      answerClock: rooms.answerClock,
      acknowledge: (deviceId, ack) => rooms.publish(deviceId, 'telemetry/ack', ack, { retain: false }),
      writable: database.writable,
      count: (channel, outcome) => metrics.messages.inc({ channel, outcome }),
      log: log.child({ room: 'messages' }),
    }),
  );
  telemetry.onPressure((high) => broker.setValve(high ? 'shut' : 'open'));
  metrics.gauge('edgeloop_telemetry_waiting_bytes', 'Telemetry that is taken and not stored yet', () =>
    telemetry.bytesHeld(),
  );
  await fleet.publishAllDesired();
  // What is sent is good for a month; a device that comes back finds an order of today.
  const orders = setInterval(() => void fleet.publishAllDesired().catch(untold(log)), 86_400_000);
  closing.add('orders', () => clearInterval(orders));
  metrics.gauge('edgeloop_devices_online', 'Devices that are connected', () => fleet.online());
  metrics.gauge(
    'edgeloop_devices_unknown_release',
    'Devices that run a release which is not registered under its number, as after a restored backup',
    () => fleet.strangers(),
  );
  metrics.gauge('edgeloop_devices_identity_conflict', 'Identities that two devices use, as after copying a card', () =>
    fleet.identityConflicts(),
  );
  metrics.gauge('edgeloop_devices_clock_off', 'Devices whose clock is more than a minute from this server’s', () =>
    fleet.clocksOff(),
  );
  metrics.gauge('edgeloop_mqtt_sessions', 'MQTT sessions of the embedded broker', () => broker.sessions());
  registerFigures({
    ...{ registry: metrics.registry, store: createFiguresStore(database), now },
    ...{ knownDevices: fleet.devices, query: telemetry.query },
  });
  metrics.gauge('edgeloop_event_clients', 'Clients of GET /events', () => events.clients());
}

/** They hear of it tomorrow, or when something changes for them. */
function untold(log: Logger): (error: unknown) => void {
  return (error) => log.error({ err: error }, 'devices could not be sent what they should run');
}

/** What looks again and again whether something is to be done. */
async function startLoops(base: Foundation, rooms: Rooms, closing: Closing): Promise<void> {
  const { rollouts, monitoring, training, telemetry, backtests } = rooms;
  const { database, config, now, metrics, log } = base;
  telemetry.start();
  const keepers = [...telemetry.keepers, ...buildKeepers({ database, keep: config.keep, now })];
  const retention = createRetention({
    database,
    keepers,
    metrics: metrics.registry,
    log: log.child({ room: 'retention' }),
  });
  retention.start();
  closing.add('retention', () => retention.close());
  const stopping = new AbortController();
  training.start(stopping.signal);
  closing.add('training', () => training.close());
  monitoring.start(stopping.signal);
  closing.add('monitoring', () => monitoring.close());
  backtests.start();
  closing.add('backtests', () => backtests.close());
  await rollouts.start();
  closing.add('rollouts', () => rollouts.close());
  closing.add('loops', () => stopping.abort());
}

/** MQTT and HTTPS for devices. */
async function openDevicePorts(
  { authority, blobs, config, log }: Foundation,
  rooms: Rooms,
  { ports, closing }: { ports: Ports; closing: Closing },
): Promise<void> {
  const { broker, connections, enrolment, registry, fleet, data } = rooms;
  const app = createDeviceApp({
    caCertificate: authority.caCertificate,
    open: [enrolmentDeviceRoutes(enrolment)],
    closed: [fleetDeviceRoutes(enrolment), registryDeviceRoutes({ registry, blobs, fleet }), dataDeviceRoutes(data)],
    admits: enrolment.admits,
    log: log.child({ room: 'device-port' }),
  });
  const tls = { ca: authority.caCertificate, minVersion: 'TLSv1.2' } as const;
  const devices = await listenTls(app.fetch, config.device, {
    ...tls,
    ...(await authority.serverCredentials()),
    requestCert: true,
    // Enrolment has no certificate yet; the app refuses everyone else whose certificate did not verify.
    rejectUnauthorized: false,
  });
  connections.watch(devices.server);
  closing.add('device port', (deadline) => devices.close(deadline));
  ports.device = devices.port;
  await broker.open();
  ports.mqtt = broker.port();
  const keeper = createCertificateKeeper({
    authority,
    use: (credentials) => {
      devices.server.setSecureContext({ ...credentials, ...tls });
      broker.useCredentials(credentials);
    },
    log,
  });
  await keeper.start();
  closing.add('certificate keeper', () => keeper.close());
}

/** API and dashboard; gives the port. */
async function openOperatorsPort(base: Foundation, rooms: Rooms, closing: Closing): Promise<number> {
  const { database, storage, keys, metrics, exporting, events, blobs, config, now } = base;
  const { fleet, enrolment, joinTokens, releaseKeys, registry, telemetry, data, broker } = rooms;
  const { rollouts, monitoring, training, backtests } = rooms;
  const app = createApp({
    rooms: [
      fleetRoutes(fleet, enrolment),
      registryRoutes({ registry, blobs }),
      backtestRoutes(backtests),
      rolloutRoutes(rollouts),
      telemetryRoutes({ telemetry, known: fleet.device, lifetimeOf: events.lifetimeOf, now: base.now }),
      monitoringRoutes(monitoring),
      dataRoutes({ data, scratchDir: join(config.dataDir, 'tmp', 'data'), maxImportBytes }),
      trainingRoutes(training),
      accessRoutes({ database, keys, joinTokens, releaseKeys }),
      eventRoutes(events),
    ],
    authenticate: keys.authenticate,
    database,
    metrics,
    observe: exporting?.observe,
    readiness: {
      database: () => database.ping(),
      broker: async () => {
        if (!broker.isListening()) throw new AppError('unavailable', 'the broker is not listening');
      },
      storage: async () => {
        const problem = await storage.problem();
        if (problem !== undefined) throw new AppError('insufficient_storage', problem);
      },
    },
    noteFailure: storage.noted,
    dashboardDir,
    hosts: [config.http.host, ...config.publicHosts],
    version,
    now,
    log: base.log.child({ room: 'http' }),
  });
  const operators = await listen(app.fetch, config.http);
  closing.add('operators’ port', (deadline) => operators.close(deadline));
  events.start();
  // Before the port: its streams never end by themselves.
  closing.add('events', () => events.close());
  return operators.port;
}

/** Tells programs on this machine where the server is, in `server.json` of the data folder. */
async function announce(
  { config, log }: Foundation,
  where: { url: string; ports: Ports },
  closing: Closing,
): Promise<void> {
  const path = join(config.dataDir, 'server.json');
  closing.add('announcement', () => rm(path, { force: true }));
  try {
    await writeDurably(path, `${JSON.stringify({ ...where, pid: process.pid, version })}\n`, 0o600);
  } catch (error) {
    const failure = storageFailure(error);
    if (failure === undefined) throw error;
    // One of a former start would send them to where nobody is.
    await rm(path, { force: true });
    log.warn({ path, reason: failure.message }, 'programs on this machine are not told where the server is');
  }
}
