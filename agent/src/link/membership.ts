// Being a member of a fleet: who this device is there, the way to its control plane, and the certificate that both need,
// renewed in time. Everything else asks here, before the device has joined as well as after.
import { AppError } from '@edgeloop/shared/errors';
import type { Labels } from '@edgeloop/shared/selector';
import type { TelemetryBatch } from '@edgeloop/shared/telemetry';
import type { Logger } from 'pino';
import { createDevicePort, type DevicePort, type TlsMaterial } from '../identity/device-port.ts';
import { enrol } from '../identity/enrol.ts';
import { type Identity, readIdentity } from '../identity/identity.ts';
import { deviceKey } from '../identity/key.ts';
import { keepRenewed } from '../identity/renewal.ts';
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
  log: Logger;
}

/** What comes from the control plane, and what is told to it. */
export type LinkHandlers = Omit<LinkOptions, 'rereadMs' | 'log'>;

const closeMs = 2000;

export class Membership {
  readonly #options: MembershipOptions;
  #identity: Identity | undefined;
  #port: DevicePort | undefined;
  #link: Link | undefined;
  #renewal: Promise<void> = Promise.resolve();

  /** @throws AppError `integrity` when the identity on disk is damaged */
  constructor(options: MembershipOptions) {
    this.#options = options;
    this.#identity = readIdentity(options.folder);
  }

  /** Until it is enrolled, the one that will be asked for. */
  get deviceId(): string {
    return this.#identity?.deviceId ?? this.#options.deviceId;
  }

  /** Ed25519 public key that signs releases; undefined before enrolment. */
  get fleetKey(): string | undefined {
    return this.#identity?.fleetKey;
  }

  /** Undefined until joined. */
  get port(): DevicePort | undefined {
    return this.#port;
  }

  /**
   * Enrols if that was not done yet, then keeps the link and the certificate up until `signal` aborts.
   * @throws AppError `invalid_request` without a join token, `forbidden` when enrolment is refused
   */
  async join(handlers: LinkHandlers, signal: AbortSignal): Promise<void> {
    const { folder, rereadMs, log } = this.#options;
    const identity = this.#identity ?? (await this.#enrol(signal));
    this.#identity = identity;
    signal.throwIfAborted(); // Nobody would close what is opened from here on.
    const port = createDevicePort({ ...identity.device, tls: tlsOf(identity, folder) });
    const link = createLink({ ...handlers, rereadMs, log });
    this.#port = port;
    this.#link = link;
    link.connect(credentialsOf(identity, folder));
    const onRenewed = (renewed: Identity) => {
      this.#identity = renewed;
      port.useTls(tlsOf(renewed, folder));
      link.connect(credentialsOf(renewed, folder));
    };
    this.#renewal = keepRenewed(identity, { folder, port, log, onRenewed }, signal);
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

  #enrol(signal: AbortSignal): Promise<Identity> {
    const { folder, joinToken, deviceId, labels, log } = this.#options;
    if (joinToken === undefined)
      throw new AppError(
        'invalid_request',
        'this device belongs to no fleet yet: set EDGELOOP_JOIN to a join token (edgeloop join-tokens create)',
      );
    return enrol({ folder, joinToken, deviceId, labels, log, signal });
  }
}

function tlsOf({ caCertificate, certificate }: Identity, folder: string): Required<TlsMaterial> {
  return { ca: caCertificate, cert: certificate, key: deviceKey(folder) };
}

function credentialsOf(identity: Identity, folder: string): LinkCredentials {
  return { deviceId: identity.deviceId, ...identity.mqtt, ...tlsOf(identity, folder) };
}
