// One simulated device: a session as the agent's link keeps it (last will, presence, reports, desired state, acknowledgements,
// reconnecting with the same waits), windows, and what its traits say is wrong with it.
import { randomUUID } from 'node:crypto';
import { parseJson } from '@edgeloop/shared/errors';
import { Desired, type Presence, type Reported } from '@edgeloop/shared/messages';
import { backoffMs } from '@edgeloop/shared/node/backoff';
import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { TelemetryAck } from '@edgeloop/shared/telemetry';
import { type Channel, serverToDevice, topicOf } from '@edgeloop/shared/topics';
import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import { Activation } from './activation.ts';
import { type Enrolled, simulatedFacts } from './joining.ts';
import { SimulatedOutbox } from './outbox.ts';
import type { FleetSettings } from './settings.ts';
import { emptyTally, type Tally } from './tally.ts';
import type { Traits } from './traits.ts';
import type { createWindows } from './windows.ts';

export interface DeviceParts {
  enrolled: Enrolled;
  traits: Traits;
  settings: FleetSettings;
  windows: ReturnType<typeof createWindows>;
  counts: FleetCounts;
}

/** What the devices of a process count together. */
export class FleetCounts {
  readonly tally = emptyTally();
  readonly acknowledgedMs = new QuantileSketchBuilder();

  snapshot(): Tally {
    return { ...this.tally, acknowledgedMs: this.acknowledgedMs.toJSON() };
  }
}

/** As the agent waits. */
const retry = { firstMs: 500, mostMs: 15_000 };
const connectTimeoutMs = 10_000;
const keepaliveSeconds = 30;
const resendMs = 10_000;
/** A flapping device is there for so long, and away for so long. */
const flapping = { thereMs: [10_000, 60_000], awayMs: [2000, 20_000] } as const;

export class SimulatedDevice {
  readonly #parts: DeviceParts;
  readonly #activation: Activation;
  readonly #outbox: SimulatedOutbox;
  readonly #startedAt = Date.now();
  #client: MqttClient | undefined;
  #session = '';
  #isConnected = false;
  #failures = 0;
  /** How long it stays away when it is next disconnected, instead of as an agent does. */
  #awayMs: number | undefined;
  #inFlight: { through: number; at: number } | undefined;
  #sentThrough = 0;
  #resend: NodeJS.Timeout | undefined;
  #reporting: NodeJS.Timeout | undefined;
  #flapping: NodeJS.Timeout | undefined;

  constructor(parts: DeviceParts) {
    const { settings, counts, traits } = parts;
    this.#parts = parts;
    this.#outbox = new SimulatedOutbox(this.#now(), settings.outboxItems);
    const { serving } = counts.tally;
    this.#activation = new Activation({
      activateMs: settings.activateMs,
      changed: () => this.report(),
      served: (version) => {
        serving[version] = (serving[version] ?? 0) + 1;
      },
    });
    if (traits.flaps) this.#flapLater();
  }

  /** Resolves when it is connected for the first time. */
  async connect(): Promise<void> {
    const client = connect(this.#options());
    this.#client = client;
    client.on('reconnect', () => {
      if (client.options.will !== undefined) client.options.will.payload = this.#farewell();
    });
    client.on('close', () => this.#closed(client));
    // Every failure is followed by a close.
    client.on('error', () => undefined);
    client.on('message', (topic, payload) => this.#receive(topic, payload));
    await new Promise<void>((resolve) =>
      client.on('connect', () => {
        this.#connected(client);
        resolve();
      }),
    );
  }

  /** Closes a window, when there is a version that answers. */
  makeWindow(span: { from: number; to: number; elapsedMs: number }): void {
    const { settings, traits, windows, counts } = this.#parts;
    const active = this.#activation.active(settings.model.name);
    if (active === undefined) return;
    if (this.#outbox.isFull) {
      counts.tally.windows.heldBack += 1;
      return;
    }
    const window = windows.window({ traits, ...active, ...span });
    this.#outbox.add(window);
    counts.tally.windows.made += 1;
    counts.tally.windows.waiting += 1;
    counts.tally.requests += window.succeeded + window.invalid + (window.failed.internal ?? 0);
    if (this.#inFlight === undefined) this.#send();
  }

  report(): void {
    const body: Reported = {
      ...{ generation: this.#activation.generation, models: this.#activation.reports(), facts: simulatedFacts },
      ...{ startedAt: this.#startedAt, reportedAt: this.#now() },
      // As a device does that has compared its clock with the server's.
      clock: {
        offsetMs: Math.round(this.#parts.traits.clockOffsetMs),
        roundTripMs: 1,
        measuredAt: Date.now(),
      },
      outbox: { pendingItems: this.#outbox.waiting, pendingBytes: this.#outbox.bytes, droppedItems: 0 },
    };
    if (this.#publish('reported', JSON.stringify(body), true)) this.#parts.counts.tally.reports += 1;
    this.#reportLater();
  }

  /** Its connection breaks; it comes back as agents do. */
  breakOff(): void {
    this.#client?.stream.destroy();
  }

  /** Says goodbye. */
  async close(): Promise<void> {
    for (const timer of [this.#resend, this.#reporting, this.#flapping]) clearTimeout(timer);
    this.#activation.close();
    const client = this.#client;
    this.#client = undefined;
    if (client === undefined) return;
    const goodbye = JSON.stringify({ status: 'offline', session: this.#session } satisfies Presence);
    if (client.connected)
      await client.publishAsync(this.#topic('presence'), goodbye, { qos: 1, retain: true }).catch(() => undefined);
    client.removeAllListeners('close');
    client.end(true);
  }

  #options(): IClientOptions {
    const { enrolled } = this.#parts;
    const { mqtt, ca, certificate: cert, key, deviceId } = enrolled;
    return {
      servers: mqtt.hosts.map((host) => ({ host, port: mqtt.port, protocol: 'mqtts' })),
      ...{ protocol: 'mqtts', ca, cert, key, rejectUnauthorized: true },
      ...{ protocolVersion: 4, clientId: deviceId, clean: true, resubscribe: false, queueQoSZero: false },
      ...{ keepalive: keepaliveSeconds, connectTimeout: connectTimeoutMs, reconnectPeriod: retry.firstMs },
      will: { topic: this.#topic('presence'), payload: this.#farewell(), qos: 1, retain: true },
    };
  }

  #connected(client: MqttClient): void {
    const { tally } = this.#parts.counts;
    this.#isConnected = true;
    this.#failures = 0;
    tally.connects += 1;
    tally.connected += 1;
    this.#publish('presence', JSON.stringify({ status: 'online', session: this.#session } satisfies Presence), true);
    client.subscribe(
      serverToDevice.map((channel) => this.#topic(channel)),
      { qos: 1 },
    );
    this.report();
    this.#send();
  }

  #closed(client: MqttClient): void {
    const { tally } = this.#parts.counts;
    if (this.#isConnected) {
      tally.connected -= 1;
      tally.losses += 1;
    }
    this.#isConnected = false;
    this.#failures += 1;
    client.options.reconnectPeriod = this.#awayMs ?? backoffMs(this.#failures, retry);
    this.#awayMs = undefined;
  }

  #receive(topic: string, payload: Buffer): void {
    const { counts, settings, traits } = this.#parts;
    counts.tally.bytes.in += payload.length;
    if (payload.length === 0) return;
    if (topic === this.#topic('desired')) this.#activation.follow(parseJson(Desired, payload.toString(), 'desired'));
    else if (topic === this.#topic('telemetry/ack') && !traits.dice.chance(settings.faults.lostAcks))
      this.#acknowledged(parseJson(TelemetryAck, payload.toString(), 'acknowledgement'));
  }

  #acknowledged(ack: TelemetryAck): void {
    const { tally, acknowledgedMs } = this.#parts.counts;
    const stored = this.#outbox.acknowledge(ack);
    tally.windows.acknowledged += stored;
    tally.windows.waiting -= stored;
    if (this.#inFlight !== undefined && ack.sequence < this.#inFlight.through) return;
    if (this.#inFlight !== undefined) acknowledgedMs.add(performance.now() - this.#inFlight.at);
    this.#send();
  }

  /** One batch in flight, sent again until it is said to be stored. */
  #send(): void {
    clearTimeout(this.#resend);
    this.#inFlight = undefined;
    const batch = this.#outbox.take();
    if (batch === undefined || !this.#publish('telemetry', batch.text, false)) return;
    const { windows } = this.#parts.counts.tally;
    const fresh = Math.min(batch.items, Math.max(0, batch.through - this.#sentThrough));
    windows.sent += fresh;
    windows.resent += batch.items - fresh;
    this.#sentThrough = Math.max(this.#sentThrough, batch.through);
    this.#inFlight = { through: batch.through, at: performance.now() };
    this.#resend = setTimeout(() => this.#send(), resendMs);
  }

  #publish(channel: Channel, payload: string, retain: boolean): boolean {
    if (this.#client?.connected !== true) return false;
    this.#parts.counts.tally.bytes.out += payload.length;
    // What the broker took counts for nothing; what it did not is sent again.
    this.#client.publish(this.#topic(channel), payload, { qos: 1, retain }, () => undefined);
    return true;
  }

  #reportLater(): void {
    clearTimeout(this.#reporting);
    const { settings, traits } = this.#parts;
    this.#reporting = setTimeout(() => this.report(), settings.reportMs * traits.dice.between(0.5, 1.5));
  }

  #flapLater(): void {
    const { dice } = this.#parts.traits;
    this.#flapping = setTimeout(
      () => {
        this.#awayMs = dice.between(...flapping.awayMs);
        this.breakOff();
        this.#flapLater();
      },
      dice.between(...flapping.thereMs),
    );
  }

  /** A last will of its own for each connection. */
  #farewell(): Buffer {
    this.#session = randomUUID();
    return Buffer.from(JSON.stringify({ status: 'offline', session: this.#session } satisfies Presence));
  }

  #topic(channel: Channel): string {
    return topicOf(this.#parts.traits.id, channel);
  }

  #now(): number {
    return Math.round(Date.now() + this.#parts.traits.clockOffsetMs);
  }
}
