// MQTT messages and the bodies of the device port, once, for both sides. Unknown keys are tolerated: old agents talk to
// new servers and the other way round.
import { z } from 'zod';
import { Measured } from './acceptance.ts';
import { ClockReading } from './clock.ts';
import { DeviceId, Instant, ModelName, ModelVersion, Sha256 } from './identifiers.ts';
import { MaintenanceWindow } from './maintenance-window.ts';
import { Labels } from './selector.ts';
import { KeyList, SignedDocument } from './signed-documents.ts';

/** On what terms a device is to take up a version. */
export const ActivationTerms = z.object({
  /** Kilobits (1000 bits) a second at which its files are fetched at most. */
  bandwidthKbps: z.number().int().min(1).optional(),
  /** When its files may be fetched, and when it may be tried and begin to answer, by the device's clock; at any time when unset. */
  windows: z
    .object({
      fetch: z.array(MaintenanceWindow).max(20).optional(),
      activate: z.array(MaintenanceWindow).max(20).optional(),
    })
    .optional(),
  /** How long software on the device may hold back that it begins to answer; a day when unset. */
  maxHoldSeconds: z.number().int().min(0).max(2_592_000).optional(),
});
export type ActivationTerms = z.infer<typeof ActivationTerms>;

/** How long a hold may last for a rollout that names no maximum. */
export const usualMaxHoldSeconds = 86_400;

/**
 * A version that runs beside the one that answers. `shadow`: on copies of some inputs, and nobody is given its answers. `split`: it
 * answers a share of the requests, chosen by a hash of their ids.
 */
export const Beside = z.object({
  version: ModelVersion,
  release: Sha256,
  signature: z.string(),
  rolloutId: z.string(),
  mode: z.enum(['shadow', 'split']),
  /** Of `split`. */
  share: z.number().gt(0).max(1).optional(),
  /** Of `shadow`: the processor time that it may take, as a share of one core; a tenth when unset. */
  processorShare: z.number().gt(0).max(1).optional(),
  ...ActivationTerms.shape,
});
export type Beside = z.infer<typeof Beside>;

/** A model version that a device should run. `rolloutId` says on whose word: a version that failed is tried again only by a new rollout. */
export const DesiredModel = z.object({
  name: ModelName,
  version: ModelVersion,
  /** SHA-256 of the release document. */
  release: Sha256,
  /** Ed25519 signature over it, base64. */
  signature: z.string(),
  rolloutId: z.string(),
  ...ActivationTerms.shape,
  /** Agents that know no such thing, or not its mode, pass it over; `deviceCapabilities` says which do. */
  beside: Beside.optional().catch(undefined),
});
export type DesiredModel = z.infer<typeof DesiredModel>;

const Generation = z.number().int().min(0);

/** The document of a signed order: what one device should run, by when it must have been read. */
export const Order = z.object({
  deviceId: DeviceId,
  generation: Generation,
  issuedAt: Instant,
  expiresAt: Instant,
  models: z.array(DesiredModel),
});
export type Order = z.infer<typeof Order>;

/** The same is said twice: in the clear for agents that know no orders, and as an `Order`, signed. */
export const Desired = z.object({
  generation: Generation,
  models: z.array(DesiredModel),
  order: SignedDocument.optional(),
  /** Every change of the fleet's keys since the first, in its order: `KeyList`s, signed. */
  releaseKeys: z.array(SignedDocument).max(1000).optional(),
});
export type Desired = z.infer<typeof Desired>;

export const activationStates = ['fetching', 'verifying', 'warming', 'probation', 'failed'] as const;
export const ActivationState = z.enum(activationStates);
export type ActivationState = z.infer<typeof ActivationState>;

export const Held = z.object({ by: z.enum(['hold', 'window']), until: Instant, message: z.string() });
export type Held = z.infer<typeof Held>;

/** At what a version failed on a device. `probation`: it answered, and too many requests failed. */
export const failureKinds = ['fetch', 'verify', 'contract', 'load', 'golden', 'crash', 'probation'] as const;
export const FailureKind = z.enum(failureKinds);
export type FailureKind = z.infer<typeof FailureKind>;

export const ModelReport = z.object({
  name: ModelName,
  /** What answers requests now. `release` says which bytes; the version is a name for people. */
  active: z
    .object({
      version: ModelVersion,
      release: Sha256.optional(),
      since: Instant,
      /** Of a version with several: which one, and why that. */
      variant: z.string().optional(),
      variantWhy: z.string().optional(),
      /** On this device, before it answered. */
      measured: Measured.optional().catch(undefined),
    })
    .nullable(),
  lastGood: ModelVersion.nullable(),
  /** What is being brought up, or what failed; null when the desired version is active and past probation. */
  candidate: z
    .object({
      version: ModelVersion,
      release: Sha256.optional(),
      /** As soon as it is picked. */
      variant: z.string().optional(),
      rolloutId: z.string(),
      state: ActivationState,
      since: Instant,
      /** Agents of before did not say the kind, and later ones may know further kinds. */
      error: z
        .object({ code: z.string(), message: z.string(), kind: FailureKind.optional().catch(undefined) })
        .optional(),
      /** It waits for a maintenance window, or for software on the device that said "not now"; until then at the latest. */
      held: Held.optional(),
    })
    .nullable(),
  /** What runs beside it, or is on its way to. `suspended`: not at present, since the device is short of something. */
  beside: z
    .object({
      version: ModelVersion,
      release: Sha256,
      /** As soon as it is picked. */
      variant: z.string().optional(),
      rolloutId: z.string(),
      state: z.enum(['fetching', 'verifying', 'warming', 'running', 'suspended', 'failed']),
      since: Instant,
      error: z
        .object({ code: z.string(), message: z.string(), kind: FailureKind.optional().catch(undefined) })
        .optional(),
      held: Held.optional(),
    })
    .optional()
    .catch(undefined),
});
export type ModelReport = z.infer<typeof ModelReport>;

/** What an agent can do that earlier ones could not. `beside`: it runs a version beside the one that answers. */
export const deviceCapabilities = ['beside'] as const;
export type DeviceCapability = (typeof deviceCapabilities)[number];

export const DeviceFacts = z.object({
  agentVersion: z.string(),
  nodeVersion: z.string(),
  platform: z.string(),
  arch: z.string(),
  cpus: z.number().int(),
  cpuModel: z.string().default(''),
  memoryBytes: z.number().int(),
  hostname: z.string().default(''),
  /** By whose clock maintenance windows open, a name of the IANA database; agents of before do not say. */
  timeZone: z.string().max(100).optional(),
  /** Among `deviceCapabilities`; later agents may know more. */
  capabilities: z.array(z.string().max(100)).max(100).optional(),
});
export type DeviceFacts = z.infer<typeof DeviceFacts>;

/** What a device has sent in a month and writes to its disk, in bytes, and what it saves at to stay within its budgets. */
export const Usage = z.object({
  /** Since when it is counted: the beginning of a month, or of the agent's memory of it. */
  since: Instant,
  sentBytes: z.number().int().min(0),
  monthlyBudgetBytes: z.number().min(0).nullable(),
  /** At the present rate; null while nothing can be said. */
  writtenADayBytes: z.number().min(0).nullable(),
  dailyWritesBudgetBytes: z.number().min(0).nullable(),
  /** For people: what gives, and why; empty while nothing does. */
  saving: z.array(z.string().max(200)).max(10),
});
export type Usage = z.infer<typeof Usage>;

export const Reported = z.object({
  /** The desired generation this answers. */
  generation: z.number().int().min(0),
  models: z.array(ModelReport),
  facts: DeviceFacts,
  startedAt: Instant,
  reportedAt: Instant,
  outbox: z.object({ pendingItems: z.number().int(), pendingBytes: z.number().int(), droppedItems: z.number().int() }),
  /** Software on the device says "not now", until then (null: as long as a lock file lies there). */
  hold: z
    .object({ until: Instant.nullable(), reason: z.string().max(1000) })
    .optional()
    .catch(undefined),
  /** The newest list of release keys that it knows; agents of before do not say. */
  releaseKeys: z
    .object({ serial: z.number().int().min(0) })
    .optional()
    .catch(undefined),
  /** How far its clock was from the server's when that was measured last. */
  clock: ClockReading.optional().catch(undefined),
  usage: Usage.optional().catch(undefined),
  /** What stands in the way of serving, recording or following, for people, newest last. */
  problems: z.array(z.string()).max(20).optional(),
});
export type Reported = z.infer<typeof Reported>;

/**
 * `session` tells a late last will of an earlier connection from a word of the present one, `instance` one start of an agent from
 * another: two that come in turns are two devices with one identity. `sentAt`, by the device's clock, asks for a `clock` command.
 */
export const Presence = z.object({
  status: z.enum(['online', 'offline']),
  session: z.string().max(100),
  instance: z.string().min(1).max(100).optional(),
  sentAt: Instant.optional(),
});
export type Presence = z.infer<typeof Presence>;

/** Another device uses the same identity: since when, and how often one of them took the session over from the other. */
export const IdentityConflict = z.object({ since: Instant, takeovers: z.number().int().min(1) });
export type IdentityConflict = z.infer<typeof IdentityConflict>;

/** `clock` answers a presence with its `sentAt`; agents that do not send one never get it. */
export const Command = z.object({
  id: z.string(),
  name: z.enum(['ping', 'flush', 'clock']),
  clock: z.object({ sentAt: Instant, serverAt: Instant }).optional(),
  /** With `clock`: as this server sees it before the presence that is answered. */
  identityConflict: IdentityConflict.nullable().optional(),
});
export type Command = z.infer<typeof Command>;

export const CommandResult = z.object({ id: z.string(), ok: z.boolean(), message: z.string().default('') });
export type CommandResult = z.infer<typeof CommandResult>;

/** `POST /device/v1/enroll`, over TLS without a client certificate. */
export const EnrolRequest = z.object({
  secret: z.string(),
  deviceId: DeviceId,
  /** PKCS#10, PEM; the key never leaves the device. */
  csr: z.string().max(10_000),
  labels: Labels.default({}),
  facts: DeviceFacts,
});
export type EnrolRequest = z.infer<typeof EnrolRequest>;

export const EnrolResponse = z.object({
  deviceId: DeviceId,
  certificate: z.string(),
  caCertificate: z.string(),
  /** Ed25519 public key that signs releases and orders, SPKI PEM. */
  fleetKey: z.string(),
  /** All that are trusted; the one above alone when unset. */
  releaseKeys: KeyList.optional(),
  mqtt: z.object({ hosts: z.array(z.string()).min(1), port: z.number().int() }),
});
export type EnrolResponse = z.infer<typeof EnrolResponse>;

/** `POST /device/v1/renew`, with the present client certificate. */
export const RenewRequest = z.object({ csr: z.string().max(10_000) });
export type RenewRequest = z.infer<typeof RenewRequest>;
export const RenewResponse = z.object({ certificate: z.string() });
export type RenewResponse = z.infer<typeof RenewResponse>;
