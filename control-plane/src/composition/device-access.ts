// Builds what devices come in through: the broker, the fleet, join tokens and enrolment.
import { randomUUID } from 'node:crypto';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { Command } from '@edgeloop/shared/messages';
import { type Channel, topicOf } from '@edgeloop/shared/topics';
import { createJoinTokens } from '../access/join-tokens.ts';
import { createReleaseKeys, createSeal } from '../access/release-keys.ts';
import { createBroker } from '../broker/broker.ts';
import { createEnrolment } from '../fleet/enrolment.ts';
import { createFleet } from '../fleet/fleet.ts';
import { peerOfSocket } from '../http/device-app.ts';
import { createDeviceConnections } from '../http/device-connections.ts';
import { createVersionNumbers } from '../registry/version-numbers.ts';
import type { Foundation } from './foundation.ts';

/** Ports that are known once they are open. */
export interface Ports {
  device: number;
  mqtt: number;
}

/** `notify` hears of every change of a device. */
export async function buildDeviceAccess(
  base: Foundation,
  { ports, notify }: { ports: Ports; notify: (event: Omit<ChangeEvent, 'at'>) => void },
) {
  const { config, database, authority, now } = base;
  const log = base.log.child({ room: 'fleet' });
  const hosts = [...config.publicHosts];

  const broker = createBroker({
    host: config.device.host,
    port: config.mqttPort,
    caCertificate: authority.caCertificate,
    credentials: await authority.serverCredentials(),
    deviceOf: async (socket) => {
      const peer = peerOfSocket(socket);
      return peer !== undefined && (await enrolment.admits(peer)) ? peer.deviceId : undefined;
    },
    log: base.log.child({ room: 'broker' }),
  });
  const connections = createDeviceConnections();
  const publish = (deviceId: string, channel: Channel, payload: unknown, { retain }: { retain: boolean }) =>
    broker.publish(topicOf(deviceId, channel), JSON.stringify(payload), { qos: 1, retain });
  const forget = async (deviceId: string) => {
    connections.cut(deviceId);
    await broker.disconnect(deviceId);
    // What was being published when the device was removed comes before what is emptied here.
    fleet.cameOrWent(deviceId);
    await fleet.publishDesired([deviceId]);
    for (const channel of ['desired', 'reported', 'presence'] as const)
      await broker.publish(topicOf(deviceId, channel), '', { qos: 1, retain: true });
  };

  const fleet = createFleet({
    ...{ database, now, notify, publish, log },
    seal: createSeal(authority.ring, now),
    numbers: createVersionNumbers(database.tables),
  });
  const releaseKeys = createReleaseKeys({
    ...{ ring: authority.ring, database, now, changed: fleet.publishAllDesired },
    serials: async () =>
      new Map([...(await fleet.devices())].map(([id, { reported }]) => [id, reported?.releaseKeys?.serial ?? null])),
  });
  const joinTokens = createJoinTokens({
    database,
    now,
    reachable: () => ({ hosts, port: ports.device, caDigest: authority.caDigest }),
  });
  const enrolment = createEnrolment({
    database,
    authority,
    joinTokens,
    mqtt: () => ({ hosts, port: ports.mqtt }),
    joined: (deviceId) => {
      fleet.cameOrWent(deviceId);
      return fleet.publishDesired([deviceId]);
    },
    removed: forget,
    now,
    notify,
    log,
  });
  const answerClock = async (deviceId: string, sentAt: number) => {
    const clock = { sentAt, serverAt: now() };
    const identityConflict = await fleet.identityConflict(deviceId);
    const command = { id: randomUUID(), name: 'clock', clock, identityConflict } satisfies Command;
    await publish(deviceId, 'commands', command, { retain: false });
  };
  return { answerClock, broker, connections, publish, fleet, joinTokens, releaseKeys, enrolment };
}
