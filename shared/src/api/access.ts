// API keys, join tokens and the audit log, as the API shows them.
import { z } from 'zod';
import { Instant } from '../identifiers.ts';
import { Labels } from '../selector.ts';

/** Each role may do what the former may: viewers read, operators change, admins also manage keys and devices' access. */
export const roles = ['viewer', 'operator', 'admin'] as const;
export const Role = z.enum(roles);
export type Role = z.infer<typeof Role>;

/** Whose key a request was made with. */
export const Me = z.object({ name: z.string(), role: Role });

export const ApiKeyCreate = z.strictObject({ name: z.string().min(1).max(100), role: Role });
export const ApiKey = z.object({
  id: z.string(),
  name: z.string(),
  role: Role,
  createdAt: Instant,
  lastUsedAt: Instant.nullable(),
  revokedAt: Instant.nullable(),
});
export type ApiKey = z.infer<typeof ApiKey>;
/** The secret is shown once. */
export const CreatedApiKey = ApiKey.extend({ key: z.string() });

export const JoinTokenCreate = z.strictObject({
  labels: Labels.default({}),
  /** How many devices may join with it. */
  uses: z.number().int().min(1).max(100_000).default(1),
  /** Seconds until it expires. */
  expiresIn: z.number().int().min(1).max(31_536_000).default(86_400),
});
export const CreatedJoinToken = z.object({
  token: z.string(),
  id: z.string(),
  uses: z.number().int(),
  expiresAt: Instant,
});
/** Never the secret: that is shown once, with the token. */
export const JoinToken = z.object({
  id: z.string(),
  labels: Labels,
  /** How many devices could join with it, and how many still can. */
  uses: z.number().int(),
  usesLeft: z.number().int(),
  expiresAt: Instant,
  createdAt: Instant,
  createdBy: z.string(),
  revokedAt: Instant.nullable(),
});
export type JoinToken = z.infer<typeof JoinToken>;

/** A key that devices trust to sign releases and what they should run. */
export const ReleaseKey = z.object({
  id: z.string(),
  /** Ed25519, SPKI PEM. */
  publicKey: z.string(),
  /** It signs from now on. */
  signs: z.boolean(),
});
export type ReleaseKey = z.infer<typeof ReleaseKey>;
/** A device that does not know the newest list of keys yet; of agents of before the serial is null, since they do not say. */
const DeviceBehind = z.object({ deviceId: z.string(), serial: z.number().int().nullable() });
/** Devices that were not online since the keys changed: they trust what they knew, and follow when they return. */
const Behind = z.object({
  /** Of the newest list; each change of the keys makes another. */
  serial: z.number().int(),
  /** The first of them. */
  behind: z.array(DeviceBehind),
  behindCount: z.number().int(),
});
export type Behind = z.infer<typeof Behind>;
export const ReleaseKeys = Behind.extend({ items: z.array(ReleaseKey) });
/** Who still trusts it. */
export const RetiredReleaseKey = ReleaseKey.extend(Behind.shape);

export const ReleaseKeyAdd = z.strictObject({
  /** To trust a key whose private half lies elsewhere, PEM. Unset: a new key is made on the server and signs from now on. */
  publicKey: z.string().min(1).max(1000).optional(),
});

export const AuditEntry = z.object({
  id: z.string(),
  at: Instant,
  /** `key:NAME`, `device:ID` or `system`. */
  actor: z.string(),
  /** `rollout.create`, `device.enrol`, … */
  action: z.string(),
  /** `rollout/ID`, `model/NAME/3`, … */
  subject: z.string(),
  before: z.unknown().nullable(),
  after: z.unknown().nullable(),
});
export type AuditEntry = z.infer<typeof AuditEntry>;
export const AuditQuery = z.object({ subject: z.string().optional(), actor: z.string().optional() });
