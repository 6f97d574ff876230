// What keeps a device from taking up a version now, before any rollout has asked it: its own software, and the windows of the plan
// by its own clock. It is by the device's last word, which may be old.
import type { RolloutPlan } from '@edgeloop/shared/api/rollouts';
import { type Calendar, calendarOf, opensAt } from '@edgeloop/shared/maintenance-window';
import { type Reported, usualMaxHoldSeconds } from '@edgeloop/shared/messages';
import { plainText } from '@edgeloop/shared/plain-text';

/** Instants by this server's clock. */
export interface Readiness {
  held: { until: number; reason: string } | null;
  outOfWindow: { until: number; timeZone: string } | null;
  /** The plan has windows, and the device does not say by which clock it goes. */
  zoneUnknown: boolean;
}

type Terms = Pick<RolloutPlan, 'windows' | 'maxHoldSeconds'>;

/** The last word of a device, and when it came. */
interface Spoken {
  reported: Pick<Reported, 'hold' | 'models' | 'facts' | 'reportedAt'> | null;
  reportedAt: number | null;
}

const reasonLength = 200;

/** For many devices: those of one time zone wait for the same. */
export function createReadiness({ windows, maxHoldSeconds = usualMaxHoldSeconds }: Terms, now: number) {
  const byZone = new Map<string, number | null | undefined>();
  const limited = (windows?.fetch?.length ?? 0) + (windows?.activate?.length ?? 0) > 0;

  function openFor(timeZone: string): number | null | undefined {
    if (!byZone.has(timeZone)) {
      const calendar = calendarOf(timeZone);
      byZone.set(timeZone, calendar === undefined ? undefined : openFrom(windows, now, calendar));
    }
    return byZone.get(timeZone);
  }

  return ({ reported, reportedAt }: Spoken): Readiness => {
    const timeZone = reported?.facts.timeZone;
    const opens = limited && timeZone !== undefined ? openFor(timeZone) : null;
    return {
      held:
        reported === null
          ? null
          : holdOf(reported, { now, receivedAt: reportedAt ?? now, longestMs: maxHoldSeconds * 1000 }),
      outOfWindow: opens == null || timeZone === undefined ? null : { until: opens, timeZone },
      zoneUnknown: limited && (timeZone === undefined || opens === undefined),
    };
  };
}

/** When a device could answer at the earliest; null: at once. */
function openFrom(windows: RolloutPlan['windows'], now: number, calendar: Calendar): number | null {
  const fetched = opensAt(windows?.fetch ?? [], now, calendar) ?? now;
  const active = opensAt(windows?.activate ?? [], fetched, calendar) ?? fetched;
  return active > now ? active : null;
}

/** Of agents of before, what holds back another version. How long is left is by the device's own clock. */
function holdOf(
  { hold, models, reportedAt }: NonNullable<Spoken['reported']>,
  { now, receivedAt, longestMs }: { now: number; receivedAt: number; longestMs: number },
): Readiness['held'] {
  const other = models.map(({ candidate }) => candidate?.held).find((held) => held?.by === 'hold');
  const told = hold ?? (other === undefined ? undefined : { until: other.until, reason: other.message });
  if (told === undefined) return null;
  const left = Math.min(longestMs, told.until === null ? longestMs : told.until - reportedAt - (now - receivedAt));
  if (left <= 0) return null;
  return { until: now + left, reason: plainText(told.reason).slice(0, reasonLength) };
}
