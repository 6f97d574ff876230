// What devices say over MQTT: parsed once, here or where its turn is waited for, and handed to the room that it concerns. What
// cannot be understood is counted, kept for a look, and left: sending it again would not help. What cannot be written down for want of room
// is kept here when nobody would say it again: the last word of each device about itself.
import { AppError, messageOf, parseJson } from '@edgeloop/shared/errors';
import { CommandResult, Presence, Reported } from '@edgeloop/shared/messages';
import type { TelemetryAck } from '@edgeloop/shared/telemetry';
import type { Channel } from '@edgeloop/shared/topics';
import type { Logger } from 'pino';
import type { MessageHandler } from '../broker/broker.ts';
import { isStorageFailure } from '../database/storage-failure.ts';

export interface DeviceMessagesDeps {
  onReported: (deviceId: string, reported: Reported) => Promise<void>;
  onPresence: (deviceId: string, presence: Presence) => Promise<void>;
  /** Resolves once everything acknowledged is stored durably. @throws AppError `invalid_request` for what is no batch */
  ingest: (deviceId: string, payload: Uint8Array) => Promise<TelemetryAck>;
  /** In which forms batches may come, which devices are told with each acknowledgement. */
  accepts: string[];
  /** Answers a device that asks for this server's clock. */
  answerClock: (deviceId: string, sentAt: number) => Promise<void>;
  acknowledge: (deviceId: string, ack: TelemetryAck) => Promise<void>;
  /** Resolves when writes work. */
  writable: () => Promise<void>;
  /** Counts a message of a channel. */
  count: (channel: Channel, outcome: 'handled' | 'malformed' | 'refused' | 'failed') => void;
  /** Notes what was not understood. */
  malformed: (message: Malformed) => void;
  log: Logger;
}

interface Malformed {
  deviceId: string;
  channel: Channel;
  payload: Buffer;
  reason: string;
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
        // At once: the time that storing takes would make the answer less exact.
        await Promise.all([clockFor(deviceId, message.body), deps.onPresence(deviceId, message.body)]);
        return;
      case 'telemetry':
        return deps.acknowledge(deviceId, {
          ...(await deps.ingest(deviceId, message.body)),
          accepts: deps.accepts,
        });
      case 'commands/result':
        log.info({ deviceId, channel, result: message.body }, 'command answered');
    }
  }

  async function clockFor(deviceId: string, { status, sentAt }: Presence): Promise<void> {
    if (status === 'online' && sentAt !== undefined) await deps.answerClock(deviceId, sentAt);
  }

  return async ({ deviceId, channel, payload }) => {
    let message: Parsed | undefined;
    try {
      message = parsePayload(channel, payload);
    } catch (error) {
      notUnderstood({ deviceId, channel, payload, reason: messageOf(error) });
      return;
    }
    if (message === undefined) return;
    await store(deviceId, channel, message);
  };

  function notUnderstood(message: Malformed): void {
    count(message.channel, 'malformed');
    deps.malformed(message);
  }

  async function store(deviceId: string, channel: Channel, message: Parsed): Promise<void> {
    const key = `${deviceId} ${channel}`;
    unsaid.delete(key);
    try {
      await handle(deviceId, channel, message);
      // Writes take turns, so what failed meanwhile is older than this.
      unsaid.delete(key);
      count(channel, 'handled');
    } catch (error) {
      if (message.channel === 'telemetry' && error instanceof AppError && error.code === 'invalid_request')
        return notUnderstood({ deviceId, channel, payload: message.body, reason: error.message });
      // There is too much of it; the device sends it again.
      if (error instanceof AppError && error.code === 'unavailable') return count(channel, 'refused');
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
  | { channel: 'telemetry'; body: Buffer }
  | { channel: 'commands/result'; body: CommandResult };

/** undefined for channels that devices do not publish to. */
function parsePayload(channel: Channel, payload: Buffer): Parsed | undefined {
  switch (channel) {
    case 'reported':
      return { channel, body: parseJson(Reported, payload.toString('utf8'), channel) };
    case 'presence':
      return { channel, body: parseJson(Presence, payload.toString('utf8'), channel) };
    case 'telemetry':
      return { channel, body: payload };
    case 'commands/result':
      return { channel, body: parseJson(CommandResult, payload.toString('utf8'), channel) };
    case 'desired':
    case 'telemetry/ack':
    case 'commands':
      return undefined;
  }
}
