// Where alerts are sent.
import { z } from 'zod';
import { Instant } from '../identifiers.ts';
import { AlertMatch } from './alert-match.ts';

const common = {
  name: z.string().min(1).max(100),
  /** Alerts that it receives though their rule does not name it: `{}` all, `{"severity": ["critical"]}` these. */
  match: AlertMatch.optional(),
  /** Alerts with the same values of these labels are told in one message. */
  groupBy: z.array(z.string().min(1).max(63)).max(10).optional(),
  /** While something of a group fires and nobody has acknowledged it, it is told again after so long. */
  repeatSeconds: z.number().int().min(10).max(2_592_000).optional(),
  /** Whether the end is told. */
  sendResolved: z.boolean().optional(),
  /** A message each so many seconds while monitoring works: whoever receives none knows that it does not. */
  heartbeatSeconds: z.number().int().min(10).max(86_400).optional(),
};

/**
 * A webhook that receives alerts as JSON, signed as https://www.standardwebhooks.com says. Redirects are not followed, and
 * addresses that are not public are refused unless `EDGELOOP_WEBHOOK_ALLOW` names them.
 */
const Webhook = z.strictObject({ ...common, kind: z.literal('webhook'), url: z.url({ protocol: /^https?$/ }) });

/** An Alertmanager: `url` is its root, below which `api/v2/alerts` lies. */
const Alertmanager = z.strictObject({
  ...common,
  kind: z.literal('alertmanager'),
  url: z.url({ protocol: /^https?$/ }),
});

const Smtp = z.strictObject({
  host: z.string().min(1).max(253),
  port: z.number().int().min(1).max(65_535).default(587),
  /** `starttls` upgrades and refuses to go on without, `tls` begins with it, `none` sends in the clear. */
  security: z.enum(['starttls', 'tls', 'none']).default('starttls'),
  username: z.string().max(320).optional(),
  /** Never shown again. */
  password: z.string().max(1000).optional(),
});
const Email = z.strictObject({
  ...common,
  kind: z.literal('email'),
  from: z.email(),
  to: z.array(z.email()).min(1).max(50),
  smtp: Smtp,
});

export const ChannelSpec = z.discriminatedUnion('kind', [Webhook, Alertmanager, Email]);
export type ChannelSpec = z.infer<typeof ChannelSpec>;

/** A user and password of `url` and the password of `smtp` are not shown. */
const shown = {
  id: z.string(),
  createdAt: Instant,
  /** What became of its messages; null: none was sent yet. */
  delivery: z
    .object({
      sentAt: Instant.nullable(),
      /** Groups of alerts whose last message did not arrive, and why. */
      failing: z.number().int(),
      error: z.string().nullable(),
    })
    .nullable()
    .optional(),
};
export const NotificationChannel = z.discriminatedUnion('kind', [
  Webhook.extend(shown),
  Alertmanager.extend(shown),
  Email.extend({ ...shown, smtp: Smtp.omit({ password: true }) }),
]);
export type NotificationChannel = z.infer<typeof NotificationChannel>;

/** The secret that a webhook's messages are signed with, `whsec_…`; it is shown once. */
const secret = { secret: z.string().optional() };
export const CreatedNotificationChannel = z.discriminatedUnion('kind', [
  Webhook.extend({ ...shown, secret: z.string() }),
  Alertmanager.extend({ ...shown, ...secret }),
  Email.extend({ ...shown, ...secret, smtp: Smtp.omit({ password: true }) }),
]);
export type CreatedNotificationChannel = z.infer<typeof CreatedNotificationChannel>;

export const ChannelTest = z.object({ delivered: z.boolean(), error: z.string().nullable() });
