// Devices, as the API shows them.
import { z } from 'zod';
import { DeviceId, Instant, Sha256 } from '../identifiers.ts';
import { DeviceFacts, IdentityConflict, ModelReport, Usage } from '../messages.ts';
import { Labels, SelectorText } from '../selector.ts';

export const DeviceStatus = z.enum(['online', 'offline', 'never_connected']);
export type DeviceStatus = z.infer<typeof DeviceStatus>;

export const Device = z.object({
  id: DeviceId,
  labels: Labels,
  status: DeviceStatus,
  lastSeenAt: Instant.nullable(),
  enrolledAt: Instant,
  /** When it was removed; its id and its key are barred from then on, until `readmittedAt`. */
  revokedAt: Instant.nullable(),
  /** When an operator let it join again, which it has not yet done. */
  readmittedAt: Instant.nullable().default(null),
  facts: DeviceFacts.nullable(),
  /** Generation that the device should reach, and the one it reported. */
  desiredGeneration: z.number().int(),
  reportedGeneration: z.number().int().nullable(),
  /** Set when the device reports a generation that this server never gave: it knew a newer server state. */
  conflicting: z.boolean(),
  desired: z.array(z.object({ name: z.string(), version: z.number().int(), release: Sha256, rolloutId: z.string() })),
  models: z.array(ModelReport),
  /** What it says it runs and the registry does not have under that number; `release` null: it did not say which. */
  unknownReleases: z.array(z.object({ name: z.string(), version: z.number().int(), release: Sha256.nullable() })),
  /** What stands in the way, for people: in the device's words, and what this server sees. */
  problems: z.array(z.string()),
  outbox: z
    .object({ pendingItems: z.number().int(), pendingBytes: z.number().int(), droppedItems: z.number().int() })
    .nullable(),
  /** How far its clock is from this server's (positive: ahead), as it was measured last; null: not yet. */
  clock: z.object({ offsetMs: z.number().int(), measuredAt: Instant }).nullable().default(null),
  /** Two devices use this identity, as after copying a card: since when, and how often one took over from the other. */
  identityConflict: IdentityConflict.nullable().default(null),
  /** What it sends and writes, and what it saves at; null: it does not say. */
  usage: Usage.nullable().default(null),
});
export type Device = z.infer<typeof Device>;

/** Messages of a device that were not understood: how many came, and the last of them, the newest first. */
export const MalformedMessages = z.object({
  count: z.number().int(),
  items: z.array(
    z.object({
      at: Instant,
      /** The topic below the device's own. */
      channel: z.string(),
      reason: z.string(),
      bytes: z.number().int(),
      /** How it begins; what is no plain character stands as its number. */
      head: z.string(),
    }),
  ),
});
export type MalformedMessages = z.infer<typeof MalformedMessages>;

/** `true` lists the devices that were removed instead of those of the fleet. */
const RemovedFlag = z.enum(['true', 'false']);
export const DeviceQuery = z.object({
  selector: SelectorText.optional(),
  status: DeviceStatus.optional(),
  removed: RemovedFlag.optional(),
});
/** Labels are replaced as a whole; to change one, send all. */
export const DevicePatch = z.strictObject({ labels: Labels });

/** What becomes of a device that is ahead of this server. */
export const DeviceResolution = z.strictObject({
  /** `follow`: it does what this server says. `keep`: it stays with what it runs until a newer rollout takes it. */
  decision: z.enum(['follow', 'keep']),
});
/** The same for all that the selector matches and that are ahead. */
export const DevicesResolution = DeviceResolution.extend({ selector: SelectorText });
export const ResolvedDevices = z.object({ resolved: z.array(DeviceId) });
