import { RolloutPlan } from '@edgeloop/shared/api/rollouts';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { tracedDevices } from './activation.ts';
import type { DeviceView } from './device-state.ts';
import { Due } from './due.ts';
import { Progress } from './progress.ts';
import { progressOn } from './rollout-state.ts';

const release = 'b'.repeat(64);
const plan = RolloutPlan.parse({
  bakeSeconds: 10,
  deployTimeoutSeconds: 30,
  maxUnavailable: { label: 'site', devices: 2 },
});
const subject = { id: 'rollout-2', model: 'net', version: 2, plan };
const start = 1_000_000;

const ways = [
  'told',
  'taken',
  'serves',
  'fails',
  'falls back',
  'online',
  'offline',
  'matches',
  'claimed',
  'ahead',
  'gone',
];
const steps = fc.array(
  fc.record({ device: fc.nat(7), way: fc.constantFrom(...ways), seconds: fc.constantFrom(0, 1, 9, 30, 70) }),
  { maxLength: 80, size: 'max' },
);

function fresh(i: number): DeviceView {
  return {
    ...{ id: `d${i}`, labels: { site: `s${i % 2}` }, matches: true, claimedBy: null, conflicting: false },
    ...{ online: true, lastSeenAt: start, problems: [], report: null, desired: null },
    member: {
      ...{ wave: i % 3, rank: i, assignedAt: null, attempt: 1, online: false, connectionSince: start },
      ...{ servingSince: null, outcome: null, detail: null },
    },
  };
}

function changed(view: DeviceView, way: string, now: number): DeviceView {
  const { member } = view;
  const report = (active: number, failed = false) => ({
    ...{ name: 'net', active: { version: active, since: 0 }, lastGood: 1 },
    candidate: failed ? { version: 2, rolloutId: subject.id, state: 'failed' as const, since: 0 } : null,
  });
  switch (way) {
    case 'told': {
      const told = { assignedAt: now, online: false, connectionSince: now, servingSince: null };
      const desired = { version: 2, release, rolloutId: subject.id };
      return { ...view, desired, member: member && { ...member, ...told } };
    }
    case 'taken':
      return { ...view, desired: { version: 1, release: 'a'.repeat(64), rolloutId: 'rollout-1' } };
    case 'serves':
      return { ...view, report: report(2) };
    case 'fails':
      return { ...view, report: report(1, true) };
    case 'falls back':
      return { ...view, report: report(1) };
    case 'online':
      return { ...view, online: true, lastSeenAt: now };
    case 'offline':
      return { ...view, online: false, lastSeenAt: now };
    case 'matches':
      return { ...view, matches: !view.matches };
    case 'claimed':
      return { ...view, claimedBy: view.claimedBy === null ? 'rollout-3' : null };
    default:
      return { ...view, conflicting: !view.conflicting };
  }
}

function picture(progress: Progress, now: number) {
  const clock = { now, listeningSince: start };
  return {
    waves: [0, 1, 2].map((wave) => ({ ...progress.wave(wave) })),
    all: { ...progress.all },
    ready: [0, 1, 2].map((wave) => progress.readyIn(wave)),
    sets: [progress.given, progress.unplanned, progress.returned, progress.failed, progress.conflicting].map((set) =>
      [...set].sort(),
    ),
    missing: progress
      .missing(clock)
      .map(({ id }) => id)
      .sort(),
    successor: progress.successor,
    busy: ['s0', 's1'].map((site) => progress.underWay(site)),
    told: progress.toldLately(now),
  };
}

it('kept counts are what counting anew gives, whatever happens in whatever order', () => {
  fc.assert(
    fc.property(steps, (history) => {
      const views = new Map(Array.from({ length: 8 }, (_, i) => [`d${i}`, fresh(i)]));
      const progress = new Progress(subject);
      let now = start;
      for (const view of views.values()) progress.update(view, { now, listeningSince: start });
      for (const { device, way, seconds } of history) {
        now += seconds * 1000;
        const clock = { now, listeningSince: start };
        const id = `d${device}`;
        const view = views.get(id) ?? fresh(device);
        if (way === 'gone') {
          views.delete(id);
          progress.remove(id);
        } else {
          views.set(id, changed(view, way, now));
          progress.update(views.get(id) ?? view, clock);
        }
        progress.tick(clock);
        // What was observed is stored, as the driver does.
        for (const [deviceId, member] of progress.observed) {
          const known = views.get(deviceId);
          if (known === undefined) continue;
          views.set(deviceId, { ...known, member });
          progress.update({ ...known, member }, clock);
        }
        expect(progress.observed.size).toBe(0);
        expect(picture(progress, now)).toEqual(
          picture(progressOn({ subject, devices: [...views.values()], ...clock }), now),
        );
      }
    }),
    { numRuns: 300 },
  );
});

it('a look takes up only who has changed, or whose time has come', () => {
  const progress = new Progress(subject);
  const clock = { now: start, listeningSince: start };
  for (let i = 0; i < 1000; i++) progress.update(changed(fresh(i), 'told', start), clock);
  let looked = 0;
  const update = progress.update.bind(progress);
  progress.update = (view, at) => {
    looked += 1;
    update(view, at);
  };
  progress.tick({ ...clock, now: start + 29_000 });
  expect(looked).toBe(0);
  progress.update(changed(changed(fresh(3), 'told', start), 'serves', start), { ...clock, now: start + 29_000 });
  progress.tick({ ...clock, now: start + 30_000 });
  expect(progress.failed.size).toBe(999);
  expect(looked).toBe(1 + 1000);
});

it('what is due comes in the order of its time', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1000)), fc.nat(1000), (instants, now) => {
      const due = new Due();
      for (const [i, at] of instants.entries()) due.add(at, String(i));
      const taken = [...due.take(now)].map((i) => instants[Number(i)] ?? -1);
      expect(taken).toEqual(instants.filter((at) => at <= now).sort((a, b) => a - b));
      expect([...due.take(1000)]).toHaveLength(instants.length - taken.length);
    }),
  );
});

it('keeps for traces how the first devices of a wave take the version up, and each that fails', () => {
  const clock = { now: start, listeningSince: start };
  const progress = new Progress(subject, { traced: true });
  const untraced = new Progress(subject);
  const devices = Array.from({ length: tracedDevices + 10 }, (_, i) => {
    const view = changed({ ...fresh(3 * i), id: `d${i}` }, 'told', start);
    return i === 3 || i === tracedDevices + 7 ? changed(view, 'fails', start) : view;
  });
  for (const device of devices) for (const each of [progress, untraced]) each.update(device, clock);
  const kept = devices.flatMap(({ id }) => (progress.member(id)?.activation == null ? [] : [id]));
  expect(kept).toEqual([...devices.slice(0, tracedDevices).map(({ id }) => id), `d${tracedDevices + 7}`]);
  const failed = kept.filter((id) => progress.observed.get(id)?.activation?.end?.state === 'failed');
  expect(failed).toEqual(['d3', `d${tracedDevices + 7}`]);
  expect(devices.every(({ id }) => untraced.member(id)?.activation === undefined)).toBe(true);
});
