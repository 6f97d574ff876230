// MQTT topics: everything of a device lies below its own id, so that one rule can fence it in.
import { DeviceId } from './identifiers.ts';

const prefix = 'edgeloop/v1/devices';

export const channels = [
  'desired',
  'reported',
  'presence',
  'telemetry',
  'telemetry/ack',
  'commands',
  'commands/result',
] as const;
export type Channel = (typeof channels)[number];

/** Largest payload of any message, in bytes. */
export const maxPayloadBytes = 256 * 1024;

export function topicOf(deviceId: DeviceId, channel: Channel): string {
  return `${prefix}/${deviceId}/${channel}`;
}

/** Subscription for one channel of every device. */
export function topicOfAll(channel: Channel): string {
  return `${prefix}/+/${channel}`;
}

/** Device and channel of a topic, or undefined when it is not one of ours. */
export function parseTopic(topic: string): { deviceId: DeviceId; channel: Channel } | undefined {
  if (!topic.startsWith(`${prefix}/`)) return undefined;
  const [id = '', ...rest] = topic.slice(prefix.length + 1).split('/');
  const channel = channels.find((each) => each === rest.join('/'));
  return channel !== undefined && DeviceId.safeParse(id).success ? { deviceId: id, channel } : undefined;
}

/** Channels that a device may publish to; it may subscribe to the others. */
export const deviceToServer: readonly Channel[] = ['reported', 'presence', 'telemetry', 'commands/result'];
export const serverToDevice: readonly Channel[] = ['desired', 'telemetry/ack', 'commands'];
