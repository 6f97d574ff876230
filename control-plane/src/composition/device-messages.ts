// What devices say over MQTT: parsed here, once, and handed to the room that it concerns. What cannot be understood is
// counted, logged with the reason, and left: sending it again would not help. What cannot be written down for want of room
// is kept here when nobody would say it again: the last word of each device about itself.
import { messageOf, parseJson } from '@edgeloop/shared/errors';
import { CommandResult, Presence, Reported } from '@edgeloop/shared/messages';
import { type TelemetryAck, TelemetryBatch } from '@edgeloop/shared/telemetry';
import type { Channel } from '@edgeloop/shared/topics';
import type { Logger } from 'pino';
import type { MessageHandler } from '../broker/broker.ts';
import { isStorageFailure } from '../database/storage-failure.ts';

export interface DeviceMessagesDeps {
  onReported: (deviceId: string, reported: Reported) => Promise<void>;
  onPresence: (deviceId: string, presence: Presence) => Promise<void>;
  /** Resolves once everything acknowledged is stored durably. */
  ingest: (deviceId: string, batch: TelemetryBatch) => Promise<TelemetryAck>;
  acknowledge: (deviceId: string, ack: TelemetryAck) => Promise<void>;
  /** Resolves when writes work. */
  writable: () => Promise<void>;
  /** Counts a message of a channel. */
  count: (channel: Channel, outcome: 'handled' | 'malformed' | 'failed') => void;
  log: Logger;
}

export function createDeviceMessages(deps: DeviceMessagesDeps): MessageHandler {
  const { log, count } = deps;
  /** By device and channel. */
  const unsaid = new Map<string, () => Promise<void>>();
  let catchingUp = false;

  async function handle(deviceId: string, channel: Channel, message: Parsed): Promise<void> {
    switch (message.channel) {
      case 'reported':
        return deps.onReported(deviceId, message.body);
      case 'presence':
        return deps.onPresence(deviceId, message.body);
      case 'telemetry':
        return deps.acknowledge(deviceId, await deps.ingest(deviceId, message.body));
      case 'commands/result':
        log.info({ deviceId, channel, result: message.body }, 'command answered');
    }
  }

  return async ({ deviceId, channel, payload }) => {
    let message: Parsed | undefined;
    try {
      message = parsePayload(channel, payload.toString('utf8'));
    } catch (error) {
      count(channel, 'malformed');
      log.warn({ deviceId, channel, reason: messageOf(error) }, 'a message was not understood');
      return;
    }
    if (message === undefined) return;
    await store(deviceId, channel, message);
  };

  async function store(deviceId: string, channel: Channel, message: Parsed): Promise<void> {
    const key = `${deviceId} ${channel}`;
    unsaid.delete(key);
    try {
      await handle(deviceId, channel, message);
      // Writes take turns, so what failed meanwhile is older than this.
      unsaid.delete(key);
      count(channel, 'handled');
    } catch (error) {
      count(channel, 'failed');
      // That storage fails is said where it is watched, once.
      if (!isStorageFailure(error))
        log.error({ err: error, deviceId, channel }, 'a message could not be stored; the device will send it again');
      else if (channel !== 'telemetry') {
        unsaid.set(key, () => store(deviceId, channel, message));
        void catchUp();
      }
    }
  }

  /** In the order in which they came; whoever speaks meanwhile is stored after what waited. */
  async function catchUp(): Promise<void> {
    if (catchingUp) return;
    catchingUp = true;
    while (unsaid.size > 0) {
      await deps.writable();
      await Promise.all([...unsaid.values()].map((say) => say()));
    }
    catchingUp = false;
  }
}

type Parsed =
  | { channel: 'reported'; body: Reported }
  | { channel: 'presence'; body: Presence }
  | { channel: 'telemetry'; body: TelemetryBatch }
  | { channel: 'commands/result'; body: CommandResult };

/** undefined for channels that devices do not publish to. */
function parsePayload(channel: Channel, text: string): Parsed | undefined {
  switch (channel) {
    case 'reported':
      return { channel, body: parseJson(Reported, text, channel) };
    case 'presence':
      return { channel, body: parseJson(Presence, text, channel) };
    case 'telemetry':
      return { channel, body: parseJson(TelemetryBatch, text, channel) };
    case 'commands/result':
      return { channel, body: parseJson(CommandResult, text, channel) };
    case 'desired':
    case 'telemetry/ack':
    case 'commands':
      return undefined;
  }
}
