import type { ActivationTerms, Reported } from '@edgeloop/shared/messages';
import { describe, expect, it } from 'vitest';
import { createReadiness } from './readiness.ts';

const now = Date.UTC(2026, 0, 7, 12); // A Wednesday, noon in UTC.
const hour = 3_600_000;
const machine = { agentVersion: '1', nodeVersion: '20', platform: 'linux', arch: 'x64', cpus: 1, cpuModel: '' };
type Word = Partial<Pick<Reported, 'hold' | 'models' | 'reportedAt'>>;
function readyOf(terms: ActivationTerms, word: Word & { timeZone?: string }, receivedAt = now) {
  const { timeZone, ...rest } = word;
  const facts = { ...machine, memoryBytes: 1, hostname: '', ...(timeZone === undefined ? {} : { timeZone }) };
  const reported = { models: [], reportedAt: receivedAt, facts, ...rest };
  return createReadiness(terms, now)({ reported, reportedAt: receivedAt });
}
const night = { windows: { fetch: [{ from: '22:00', to: '04:00' }] } };

describe('windows', () => {
  it('are those of the device, by the time zone that it reports', () => {
    expect(readyOf(night, { timeZone: 'UTC' }).outOfWindow).toEqual({ until: now + 10 * hour, timeZone: 'UTC' });
    expect(readyOf(night, { timeZone: 'Europe/Berlin' }).outOfWindow?.until).toBe(now + 9 * hour);
    expect(readyOf(night, { timeZone: 'Asia/Tokyo' }).outOfWindow?.until).toBe(now + hour);
    expect(readyOf(night, { timeZone: 'Australia/Sydney' })).toMatchObject({ outOfWindow: null, zoneUnknown: false });
  });

  it('of activating open after those of fetching', () => {
    const both = { windows: { ...night.windows, activate: [{ days: ['sun' as const], from: '01:00', to: '03:00' }] } };
    const sunday = Date.UTC(2026, 0, 11, 1);
    expect(readyOf(both, { timeZone: 'UTC' }).outOfWindow?.until).toBe(sunday);
  });

  it('are not known of a device that reports no zone, or none that there is', () => {
    expect(readyOf(night, {})).toMatchObject({ outOfWindow: null, zoneUnknown: true });
    expect(readyOf(night, { timeZone: 'Mars/Olympus' })).toMatchObject({ outOfWindow: null, zoneUnknown: true });
    expect(createReadiness(night, now)({ reported: null, reportedAt: null }).zoneUnknown).toBe(true);
    expect(readyOf({}, {})).toEqual({ held: null, outOfWindow: null, zoneUnknown: false });
  });
});

describe('a hold', () => {
  it('is told until when, also by a clock that is days off, and never longer than the plan puts up with', () => {
    const off = now + 5 * 24 * hour;
    const hold = { until: off + hour, reason: 'surgery\nunder way' };
    expect(readyOf({}, { hold, reportedAt: off }).held).toEqual({ until: now + hour, reason: 'surgery under way' });
    expect(readyOf({ maxHoldSeconds: 60 }, { hold, reportedAt: off }).held?.until).toBe(now + 60_000);
    expect(readyOf({ maxHoldSeconds: 0 }, { hold, reportedAt: off }).held).toBeNull();
  });

  it('by a lock file has no end but the plan’s, a day where it says none', () => {
    expect(readyOf({}, { hold: { until: null, reason: 'lock' } }).held?.until).toBe(now + 24 * hour);
  });

  it('that was over before now is none', () => {
    const told = now - 2 * hour;
    expect(readyOf({}, { hold: { until: told + hour, reason: 'x' } }, told).held).toBeNull();
  });

  it('is seen of agents of before where it holds back another version', () => {
    const held = { by: 'hold' as const, until: now + hour, message: 'software on the device holds it back: oven' };
    const candidate = { version: 2, rolloutId: 'r', state: 'warming' as const, since: now, held };
    const models = [{ name: 'net', active: null, lastGood: null, candidate }];
    expect(readyOf({}, { models }).held).toEqual({ until: now + hour, reason: held.message });
  });
});
