// What a channel is to be told of a group of alerts: a function of what it was told and of how they are now, so that a restart
// neither forgets nor repeats. Pure.
import { z } from 'zod';

export const DeliveryState = z.object({
  /** Ids of alerts whose firing was told and whose end was not. */
  told: z.array(z.string()),
  /** When the last message arrived, and the last one with something new. */
  sentAt: z.number().nullable(),
  newsAt: z.number().nullable(),
  /** Tries of the message that is due now, and when the next may be made. */
  attempts: z.number(),
  nextAt: z.number(),
  error: z.string().nullable(),
});
export type DeliveryState = z.infer<typeof DeliveryState>;

export const nothingTold: DeliveryState = { told: [], sentAt: null, newsAt: null, attempts: 0, nextAt: 0, error: null };

/** An alert of the group: firing, or told as firing and resolved since. */
export interface GroupMember {
  id: string;
  status: 'firing' | 'resolved';
  /** Silenced or inhibited. */
  muted: boolean;
  acknowledged: boolean;
}

export interface DeliverySettings {
  /** Least time between two messages about newly firing alerts. */
  groupIntervalMs: number;
  /** After which what still fires is told again. */
  repeatMs: number;
  sendResolved: boolean;
  /** Repeats what somebody takes care of, too. */
  repeatAcknowledged: boolean;
}

export type Reason = 'news' | 'repeat';
export interface Due {
  ids: string[];
  reason: Reason;
}

/** An end at once, a beginning not so soon after another one, all again after a while; nothing while the last try is recent. */
export function dueOf(
  members: readonly GroupMember[],
  state: DeliveryState,
  { now, ...settings }: DeliverySettings & { now: number },
): Due | undefined {
  if (state.nextAt > now) return undefined;
  const told = new Set(state.told);
  const heard = members.filter(({ muted }) => !muted);
  const ends = settings.sendResolved ? heard.filter(({ id, status }) => status === 'resolved' && told.has(id)) : [];
  const isSoon = told.size > 0 && state.newsAt !== null && state.newsAt + settings.groupIntervalMs > now;
  const begun = isSoon ? [] : heard.filter(({ id, status }) => status === 'firing' && !told.has(id));
  if (ends.length + begun.length > 0) return { ids: [...begun, ...ends].map(({ id }) => id), reason: 'news' };
  const standing = heard.filter(
    ({ id, status, acknowledged }) =>
      status === 'firing' && told.has(id) && (settings.repeatAcknowledged || !acknowledged),
  );
  const isTime = state.sentAt !== null && state.sentAt + settings.repeatMs <= now;
  return isTime && standing.length > 0 ? { ids: standing.map(({ id }) => id), reason: 'repeat' } : undefined;
}

/** After the message has arrived. */
export function delivered(
  state: DeliveryState,
  { due, members, now }: { due: Due; members: readonly GroupMember[]; now: number },
): DeliveryState {
  const sent = new Set(due.ids);
  const told = new Set(state.told);
  let news = false;
  for (const { id, status } of members) {
    if (!sent.has(id)) continue;
    if (status === 'resolved') told.delete(id);
    else {
      news ||= !told.has(id);
      told.add(id);
    }
  }
  const newsAt = news ? now : state.newsAt;
  return { told: [...told].sort(), sentAt: now, newsAt, attempts: 0, nextAt: 0, error: null };
}

/** Without ends that nobody wants to hear of. */
export function forgotten(state: DeliveryState, members: readonly GroupMember[], sendResolved: boolean): DeliveryState {
  const standing = new Set(members.filter(({ status }) => status === 'firing' || sendResolved).map(({ id }) => id));
  const told = state.told.filter((id) => standing.has(id));
  return told.length === state.told.length ? state : { ...state, told };
}
