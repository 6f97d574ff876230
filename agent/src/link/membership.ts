// Being a member of a fleet: who this device is there, the way to its control plane, and the certificate that both need,
// renewed in time. Everything else asks here, before the device has joined as well as after.
import { existsSync } from 'node:fs';
import { type ClockReading, clockWords, isClockOff } from '@edgeloop/shared/clock';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { Desired, IdentityConflict } from '@edgeloop/shared/messages';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import type { Labels } from '@edgeloop/shared/selector';
import type { TelemetryBatch } from '@edgeloop/shared/telemetry';
import type { Logger } from 'pino';
import { createDevicePort, type DevicePort, type TlsMaterial } from '../identity/device-port.ts';
import { enrol } from '../identity/enrol.ts';
import {
  type Credentials,
  type Identity,
  identityPath,
  readCredentials,
  trustOf,
  writeIdentity,
} from '../identity/identity.ts';
import { keyPath, readKey } from '../identity/key.ts';
import { keepRenewed } from '../identity/renewal.ts';
import { isOutOfTime, outOfTimeWords } from '../identity/server-clock.ts';
import { type Heeded, heed } from '../identity/trust.ts';
import type { Problems } from '../problems.ts';
import { moveAside } from '../storage/aside.ts';
import type { PendingWrites } from '../storage/pending-writes.ts';
import { createLink, type Link, type LinkCredentials, type LinkOptions } from './session.ts';

export interface MembershipOptions {
  /** Where key and identity are kept. */
  folder: string;
  /** Needed until the device is enrolled. */
  joinToken: string | undefined;
  /** Asked for at enrolment. */
  deviceId: string;
  labels: Labels;
  rereadMs: number;
  writes: PendingWrites;
  problems: Problems;
  /** Whether this device serves models: then it goes on without a fleet, whatever that says. */
  serves(): boolean;
  log: Logger;
}

/** What comes from the control plane, and what is told to it. */
export type LinkHandlers = Omit<LinkOptions, 'rereadMs' | 'log' | 'onIdentityConflict' | 'onFailure'>;

const closeMs = 2000;
/** A person may lift a refusal, or make a new token for the next start. */
const refused = { firstMs: 30_000, mostMs: 3_600_000 };

export class Membership {
  readonly #options: MembershipOptions;
  #credentials: Credentials | undefined;
  /** Why there are none, where there were some once. */
  #damage: string | undefined;
  #port: DevicePort | undefined;
  #link: Link | undefined;
  #renewal: Promise<void> = Promise.resolve();
  #clock: ClockReading | undefined;
  #isAsking = false;

  constructor(options: MembershipOptions) {
    this.#options = options;
    try {
      this.#credentials = readCredentials(options.folder);
    } catch (error) {
      this.#damage = messageOf(error);
    }
  }

  /** Until it is enrolled, the one that will be asked for. */
  get deviceId(): string {
    return this.#credentials?.identity.deviceId ?? this.#options.deviceId;
  }

  /** Ed25519 public keys that sign releases; undefined before enrolment. */
  get trustedKeys(): readonly string[] | undefined {
    return this.#credentials && trustOf(this.#credentials.identity).keys;
  }

  /** Of the newest list of keys that it knows; undefined before enrolment. */
  get keysSerial(): number | undefined {
    return this.#credentials && trustOf(this.#credentials.identity).serial;
  }

  /** What of a message is to be followed; learns the keys that come with it. @throws AppError `integrity` for what is not signed */
  heed(desired: Desired): Heeded['order'] {
    if (this.#credentials === undefined) throw new AppError('internal', 'a message came before this device has joined');
    const { folder, writes, log } = this.#options;
    const { identity, key } = this.#credentials;
    const before = trustOf(identity);
    const { trust, order } = heed(before, desired, { deviceId: identity.deviceId, nowMs: Date.now() });
    if (trust.serial !== before.serial || trust.ordersSigned !== before.ordersSigned) {
      const changed = { ...identity, trust };
      this.#credentials = { identity: changed, key };
      writes.write('identity', () => writeIdentity(folder, changed));
      log.info({ serial: trust.serial, keys: trust.keys.length }, 'the keys of the fleet were learned');
    }
    return order;
  }

  /** How far this device's clock is from the server's; undefined while nobody has said so. */
  get clock(): ClockReading | undefined {
    return this.#clock;
  }

  /** Undefined until joined. */
  get port(): DevicePort | undefined {
    return this.#port;
  }

  /**
   * Enrols if that was not done yet or the identity is damaged, then keeps the link and the certificate up until `signal`
   * aborts. A device that serves waits for whatever stands in the way.
   * @throws AppError `invalid_request` without a join token, `forbidden` when enrolment is refused, where nothing is served
   */
  async join(handlers: LinkHandlers, signal: AbortSignal): Promise<void> {
    const { folder, rereadMs, writes, problems, log } = this.#options;
    const credentials = this.#credentials ?? (await this.#becomeMember(signal));
    const { identity, key } = credentials;
    this.#credentials = credentials;
    signal.throwIfAborted(); // Nobody would close what is opened from here on.
    const port = createDevicePort({ ...identity.device, tls: tlsOf(credentials) });
    const link = createLink({
      ...handlers,
      rereadMs,
      log,
      onClock: (reading) => {
        this.#takeClock(reading);
        handlers.onClock(reading);
      },
      onIdentityConflict: (conflict) => this.#sayTwin(conflict),
      onFailure: (error) => void this.#sayOutOfTime(error, identity.device, signal),
    });
    this.#port = port;
    this.#link = link;
    link.connect(linkCredentialsOf(credentials));
    const present = () => this.#credentials?.identity ?? identity;
    const onRenewed = (renewed: Identity) => {
      const next = { identity: renewed, key };
      this.#credentials = next;
      port.useTls(tlsOf(next));
      link.connect(linkCredentialsOf(next));
    };
    this.#renewal = keepRenewed(
      key,
      { folder, port, writes, problems, log, nowMs: () => this.#nowMs(), identity: present, onRenewed },
      signal,
    );
  }

  /** False when there is no connection; nothing is queued. */
  publishTelemetry(batch: TelemetryBatch): boolean {
    return this.#link?.publishTelemetry(batch) ?? false;
  }

  /** Reports shortly; changes that come together are reported once. */
  reportSoon(): void {
    this.#link?.reportSoon();
  }

  /** Says goodbye; the signal of `join` must have aborted. */
  async close(): Promise<void> {
    await this.#renewal;
    await this.#link?.close(closeMs);
    await this.#port?.close();
  }

  #takeClock(reading: ClockReading): void {
    const { problems, log } = this.#options;
    const before = this.#clock;
    this.#clock = reading;
    const { offsetMs, roundTripMs } = reading;
    log.debug({ offsetMs, roundTripMs }, 'the clock was compared with the control plane’s');
    if (!isClockOff(reading)) problems.clear('clock');
    else problems.set('clock', `this device's clock is ${clockWords(offsetMs)}; set it`);
    if (before === undefined || Math.abs(before.offsetMs - offsetMs) > 1000) this.reportSoon();
  }

  #nowMs(): number {
    const clock = this.#clock;
    return Date.now() - (clock !== undefined && isClockOff(clock) ? clock.offsetMs : 0);
  }

  /** Over when the clocks are compared next. */
  async #sayOutOfTime(error: Error, { hosts, port }: Identity['device'], signal: AbortSignal): Promise<void> {
    if (!isOutOfTime(error) || this.#isAsking) return;
    this.#isAsking = true;
    const words = await outOfTimeWords(error, { host: hosts[0] ?? 'localhost', port }, signal);
    this.#isAsking = false;
    if (!signal.aborted) this.#options.problems.set('clock', words);
  }

  #sayTwin(conflict: IdentityConflict | null): void {
    const { problems } = this.#options;
    if (conflict === null) problems.clear('identity_conflict');
    else problems.set('identity_conflict', twinWords(this.deviceId, conflict));
  }

  /** Again and again while there is something to serve. */
  async #becomeMember(signal: AbortSignal): Promise<Credentials> {
    const { problems, serves } = this.#options;
    for (let failures = 1; ; failures += 1) {
      try {
        const credentials = await this.#enrol(signal);
        problems.clear('identity');
        return credentials;
      } catch (error) {
        signal.throwIfAborted();
        if (!serves()) throw error;
        problems.set('identity', `${messageOf(error)}; the models on this device are served meanwhile`);
        await pause(backoffMs(failures, refused), signal);
        signal.throwIfAborted();
      }
    }
  }

  #enrol(signal: AbortSignal): Promise<Credentials> {
    const { folder, joinToken, deviceId, labels, writes, log } = this.#options;
    if (joinToken === undefined) throw new AppError('invalid_request', this.#needsToken());
    if (this.#damage !== undefined) this.#setAside();
    return enrol({ folder, joinToken, deviceId, labels, writes, log, signal });
  }

  #needsToken(): string {
    const how = 'set EDGELOOP_JOIN to a join token (edgeloop join-tokens create)';
    if (this.#damage === undefined) return `this device belongs to no fleet yet: ${how}`;
    return `the identity of this device is damaged: ${this.#damage}; ${how} and start the agent again, it joins as the device that it was`;
  }

  /** The control plane knows a device again by its key, so a whole one stays. */
  #setAside(): void {
    const { folder, problems } = this.#options;
    const damaged = [...(keyIsWhole(folder) ? [] : [keyPath(folder)]), identityPath(folder)];
    const aside = damaged.filter((path) => existsSync(path)).map((path) => moveAside(path));
    const fresh = damaged.length > 1 ? ', with a new key: the former device must be removed first' : '';
    const words = `the identity of this device is damaged (${this.#damage}) and was moved aside: ${aside.join(', ')}`;
    problems.set('identity', `${words}; it joins its fleet again${fresh}`);
    this.#damage = undefined;
  }
}

function twinWords(deviceId: string, { since, takeovers }: IdentityConflict): string {
  const seen = `one took over from the other ${takeovers} times since ${new Date(since).toISOString()}`;
  return `another device is "${deviceId}", too, as after copying a card (${seen}); both take long turns. Give one its own identity: stop its agent, empty its data folder and let it join with its own EDGELOOP_DEVICE_ID`;
}

function keyIsWhole(folder: string): boolean {
  try {
    return readKey(folder) !== undefined;
  } catch {
    return false; // Why was said when the identity was read.
  }
}

function tlsOf({ identity, key }: Credentials): Required<TlsMaterial> {
  return { ca: identity.caCertificate, cert: identity.certificate, key };
}

function linkCredentialsOf(credentials: Credentials): LinkCredentials {
  const { deviceId, mqtt } = credentials.identity;
  return { deviceId, ...mqtt, ...tlsOf(credentials) };
}
