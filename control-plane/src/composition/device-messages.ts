// What devices say over MQTT: parsed here, once, and handed to the room that it concerns. What cannot be understood is
// counted, logged with the reason, and left: sending it again would not help.
import { messageOf, parseJson } from '@edgeloop/shared/errors';
import { CommandResult, Presence, Reported } from '@edgeloop/shared/messages';
import { type TelemetryAck, TelemetryBatch } from '@edgeloop/shared/telemetry';
import type { Channel } from '@edgeloop/shared/topics';
import type { Logger } from 'pino';
import type { MessageHandler } from '../broker/broker.ts';

export interface DeviceMessagesDeps {
  onReported: (deviceId: string, reported: Reported) => Promise<void>;
  onPresence: (deviceId: string, presence: Presence) => Promise<void>;
  /** Resolves once everything acknowledged is stored durably. */
  ingest: (deviceId: string, batch: TelemetryBatch) => Promise<TelemetryAck>;
  acknowledge: (deviceId: string, ack: TelemetryAck) => Promise<void>;
  /** Counts a message of a channel. */
  count: (channel: Channel, outcome: 'handled' | 'malformed' | 'failed') => void;
  log: Logger;
}

export function createDeviceMessages(deps: DeviceMessagesDeps): MessageHandler {
  const { log, count } = deps;

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
    try {
      await handle(deviceId, channel, message);
      count(channel, 'handled');
    } catch (error) {
      count(channel, 'failed');
      log.error({ err: error, deviceId, channel }, 'a message could not be stored; the device will send it again');
    }
  };
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
