import {
  type GateVerdict,
  type RolloutPlan as Plan,
  RolloutPlan,
  type RolloutState,
} from '@edgeloop/shared/api/rollouts';
import type { ActivationState } from '@edgeloop/shared/messages';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RequestCounts } from '../gates/rates.ts';
import type { DeviceView } from './device-state.ts';

import { type Decision, decide, type Look, planOf, progressOn } from './rollout-state.ts';
import { verdictsOf } from './verdicts.ts';
import { planWaves, waveOrder, waveSize } from './waves.ts';

const rolloutId = 'rollout-2';
const version = 2;
const release = 'b'.repeat(64);
const release1 = 'a'.repeat(64);
const start = 1_000_000;
const offlineGraceMs = 60_000;
const phaseOf = (state: RolloutState) => state.phase;
const terminal = ['completed', 'cancelled', 'superseded', 'rolled_back', 'awaiting_approval'];

const defaults = RolloutPlan.parse({}).gates;
const verdicts = (look: Look) => [...verdictsOf(progressOn(look), look.state, look.now)];

/** A fleet and a rollout as they would be stored, with the decisions applied as the driver does. */
function simulate(
  given: Partial<Omit<Plan, 'gates'>> & { gates?: Partial<Plan['gates']> },
  size: number,
  online = true,
) {
  const plan = RolloutPlan.parse({ bakeSeconds: 10, deployTimeoutSeconds: 100, ...given });
  const subject = { id: rolloutId, model: 'net', version, plan };
  const devices: DeviceView[] = [];
  const previous = new Map<string, DeviceView['desired']>();
  const requests = new Map<string, RequestCounts>();
  const sim = {
    plan,
    subject,
    devices,
    requests,
    now: start,
    listeningSince: start,
    planned: false,
    state: { phase: 'running', wave: 0, step: 'deploying', since: start } as RolloutState,
    add(connected = true) {
      const id = `d${devices.length}`;
      devices.push({
        id,
        labels: {},
        matches: true,
        claimedBy: null,
        conflicting: false,
        online: connected,
        lastSeenAt: start,
        problems: [],
        report: { name: 'net', active: { version: 1, since: 0 }, lastGood: 1, candidate: null },
        desired: { version: 1, release: release1, rolloutId: 'rollout-1' },
        member: null,
      });
    },
    members: () => devices.filter(({ member }) => member?.assignedAt != null),
    look: () => ({
      subject,
      state: sim.state,
      planned: sim.planned,
      devices,
      evidence: evidence(),
      now: sim.now,
      listeningSince: sim.listeningSince,
    }),
    /** Lets time pass and applies what is decided then. */
    tick(seconds = 1): Decision {
      sim.pass(seconds);
      return sim.decide();
    },
    pass(seconds: number) {
      sim.now += seconds * 1000;
      for (const device of devices) if (device.online) device.lastSeenAt = sim.now;
      for (let plan = planOf(progressOn(sim.look()), sim.look()); plan !== undefined; ) {
        for (const { deviceId, wave, rank } of plan.members) {
          const device = devices.find(({ id }) => id === deviceId);
          if (device === undefined || device.member?.assignedAt != null) continue;
          device.member = { ...unseen, wave, rank, connectionSince: sim.now };
        }
        sim.planned = true;
        sim.state = plan.restart ?? sim.state;
        plan = planOf(progressOn(sim.look()), sim.look());
      }
    },
    decide(): Decision {
      const decision = decide(sim.look());
      apply(decision);
      return decision;
    },
    ticks(count: number, seconds = 1) {
      for (let i = 0; i < count; i++) sim.tick(seconds);
      return sim.state;
    },
    /** Devices that were told to run the version do so. */
    deployed(only = devices) {
      for (const device of only) {
        if (device.desired?.version === version && device.online) {
          device.report = { name: 'net', active: { version, since: 0 }, lastGood: version, candidate: null };
        }
      }
    },
    fails(device: DeviceView | undefined, state: ActivationState = 'failed') {
      if (device === undefined) throw new Error('no such device');
      const error = { code: 'model_rejected', message: 'golden sample 0' };
      const candidate = { version, rolloutId, state, since: 0, error };
      device.report = { name: 'net', active: { version: 1, since: 0 }, lastGood: 1, candidate };
    },
    serve(id: string, more: RequestCounts) {
      const before = requests.get(id) ?? { requests: 0, failed: 0 };
      requests.set(id, { requests: before.requests + more.requests, failed: before.failed + more.failed });
    },
    serveAll(more: RequestCounts) {
      for (const device of sim.members()) if (device.report?.active?.version === version) sim.serve(device.id, more);
    },
  };
  function evidence() {
    const running = sim.state.phase === 'paused' ? sim.state.resume : sim.state;
    const wave = running.phase === 'running' ? running.wave : -1;
    const sum = (of: DeviceView[]): RequestCounts =>
      of.reduce(
        (total, { id }) => {
          const counts = requests.get(id) ?? { requests: 0, failed: 0 };
          return { requests: total.requests + counts.requests, failed: total.failed + counts.failed };
        },
        { requests: 0, failed: 0 },
      );
    return { wave: sum(sim.members().filter(({ member }) => member?.wave === wave)), all: sum(sim.members()) };
  }
  function apply(decision: Decision) {
    for (const { deviceId, member } of decision.observed) {
      const device = devices.find(({ id }) => id === deviceId);
      if (device !== undefined) device.member = member;
    }
    sim.state = decision.state;
    for (const device of devices) {
      if (decision.assign.includes(device.id) && sim.state.phase === 'running') {
        previous.set(device.id, device.desired);
        device.desired = { version, release, rolloutId };
        const times = { assignedAt: sim.now, connectionSince: sim.now };
        device.member = { ...unseen, ...times, wave: sim.state.wave, rank: device.member?.rank ?? null };
      }
      if (decision.revert.includes(device.id)) device.desired = previous.get(device.id) ?? null;
    }
    for (const { deviceId, outcome, detail } of decision.endings) {
      const device = devices.find(({ id }) => id === deviceId);
      if (device?.member?.outcome === null) device.member = { ...device.member, outcome, detail };
    }
  }
  for (let i = 0; i < size; i++) sim.add(online);
  return sim;
}
const unseen = {
  ...{ rank: null, assignedAt: null, attempt: 1, online: false, servingSince: null, outcome: null, detail: null },
};
const good = { requests: 50, failed: 0 };
const twoWaves = { waves: [{ percent: 20 }, { percent: 100 }] };

describe('a rollout', () => {
  it('goes wave by wave: deploys, bakes, is judged, and completes', () => {
    const sim = simulate(twoWaves, 10);
    sim.tick();
    expect(sim.members()).toHaveLength(2);
    sim.deployed();
    sim.tick();
    expect(sim.state).toMatchObject({ phase: 'running', wave: 0, step: 'baking' });
    sim.ticks(10);
    expect(sim.state).toMatchObject({ phase: 'running', wave: 0, step: 'judging' });
    sim.serveAll(good);
    sim.tick();
    expect(sim.state).toMatchObject({ phase: 'running', wave: 1, step: 'deploying' });
    expect(sim.members()).toHaveLength(10);
    sim.deployed();
    sim.serveAll(good);
    expect(sim.ticks(12)).toMatchObject({ phase: 'completed' });
  });

  it('rolls back as soon as too many devices failed, even while others are deploying, and says which and why', () => {
    const sim = simulate({ waves: [{ percent: 50 }, { percent: 100 }] }, 10);
    sim.tick();
    sim.fails(sim.members()[0]);
    const decision = sim.tick();
    expect(sim.state).toMatchObject({ phase: 'rolling_back' });
    expect(sim.state).toHaveProperty('reason', expect.stringContaining('golden sample 0'));
    expect(decision.revert).toHaveLength(5);
    expect(sim.devices.every(({ desired }) => desired?.rolloutId === 'rollout-1')).toBe(true);
  });

  it('stays within the bound of failures: one of ten may fail when that is allowed', () => {
    const sim = simulate({ waves: [{ percent: 100 }], gates: { ...defaults, maxFailedDevices: 0.1 } }, 10);
    sim.tick();
    sim.deployed();
    sim.fails(sim.members()[3]);
    sim.serveAll(good);
    expect(sim.ticks(12)).toMatchObject({ phase: 'completed' });
  });

  it('pauses instead when the plan says so, and after a resume pauses for the same reason', () => {
    const sim = simulate({ onFailure: 'pause' }, 3);
    sim.tick();
    sim.fails(sim.members()[0]);
    sim.tick();
    expect(sim.state).toMatchObject({ phase: 'paused', resume: { phase: 'running', wave: 0 } });
    sim.state = { phase: 'running', wave: 0, step: 'deploying', since: sim.now };
    sim.tick();
    expect(sim.state).toMatchObject({ phase: 'paused' });
  });

  it('fails when its requests fail, at once when that cannot be chance', () => {
    const sim = simulate(twoWaves, 10);
    sim.tick();
    sim.deployed();
    sim.serveAll({ requests: 30, failed: 15 });
    sim.tick();
    expect(sim.state).toMatchObject({ phase: 'rolling_back', reason: expect.stringContaining('30 of 60 requests') });
  });

  it('never passes for lack of requests: it waits, then pauses with the reason', () => {
    const sim = simulate({ ...twoWaves, gates: { ...defaults, evidenceTimeoutSeconds: 60 } }, 10);
    sim.tick();
    sim.deployed();
    expect(sim.ticks(70)).toMatchObject({ phase: 'running', wave: 0, step: 'judging' });
    expect(sim.ticks(5)).toMatchObject({
      phase: 'paused',
      reason: 'no verdict on wave 1 within 60 s: 0 requests seen, 20 needed',
    });
    expect(sim.members()).toHaveLength(2);
  });

  it('waits for devices to match, and never completes by lack of them', () => {
    const sim = simulate({}, 0);
    expect(sim.ticks(100, 1000)).toMatchObject({ phase: 'running', wave: 0, step: 'deploying' });
    expect(decide(sim.look()).gates[0]?.detail).toBe('no device matches yet');
    sim.add();
    sim.tick();
    expect(sim.members()).toHaveLength(1);
    sim.deployed();
    sim.serveAll(good);
    expect(sim.ticks(12)).toMatchObject({ phase: 'completed' });
  });

  it('counts a reachable device that does not get there as timed out, from when it came online', () => {
    const sim = simulate({ onFailure: 'pause' }, 1, false);
    sim.tick();
    sim.ticks(200);
    expect(verdicts(sim.look())).toMatchObject([{ state: 'offline' }]);
    for (const device of sim.devices) device.online = true;
    expect(sim.ticks(100)).toMatchObject({ phase: 'running' });
    expect(sim.ticks(2)).toMatchObject({ phase: 'paused', reason: expect.stringContaining('not serving after 100 s') });
  });

  it('does not hold against a device that the same version failed on it in an earlier rollout', () => {
    const sim = simulate({}, 1);
    sim.tick();
    sim.fails(sim.devices[0]);
    const candidate = sim.devices[0]?.report?.candidate;
    if (candidate) candidate.rolloutId = 'rollout-1';
    sim.tick();
    expect(sim.state).toMatchObject({ phase: 'running', step: 'deploying' });
  });

  it('treats a device that falls back after serving as failed', () => {
    const sim = simulate({}, 1);
    sim.tick();
    sim.deployed();
    sim.tick();
    for (const device of sim.devices) {
      device.report = { name: 'net', active: { version: 1, since: 0 }, lastGood: 1, candidate: null };
    }
    sim.tick();
    expect(sim.state).toMatchObject({
      phase: 'rolling_back',
      reason: expect.stringContaining('fell back to version 1'),
    });
  });

  it('skips offline devices only when they stay away, so a restart that finds nobody connected changes nothing', () => {
    const sim = simulate({ waves: [{ percent: 20 }, { percent: 100 }] }, 5);
    sim.tick();
    sim.deployed();
    sim.serveAll(good);
    sim.ticks(11);
    expect(sim.state).toMatchObject({ phase: 'running', wave: 1, step: 'deploying' });
    sim.tick();
    for (const device of sim.devices) device.online = false;
    expect(sim.ticks(30)).toMatchObject({ phase: 'running', wave: 1, step: 'deploying' });
    for (const device of sim.devices) device.online = true;
    sim.tick();
    sim.deployed();
    sim.serveAll(good);
    expect(sim.ticks(12)).toMatchObject({ phase: 'completed' });
  });

  it.each([
    ['skip', 'completed'],
    ['wait', 'running'],
  ] as const)('with offline devices to %s is %s without them', (offlineDevices, phase) => {
    const sim = simulate({ waves: [{ percent: 20 }, { percent: 100 }], offlineDevices }, 5);
    sim.tick();
    sim.deployed();
    sim.serveAll(good);
    sim.ticks(12);
    const [away] = sim.members().filter(({ member }) => member?.wave === 1);
    if (away === undefined) throw new Error('nobody in the second wave');
    away.online = false;
    sim.deployed();
    sim.serveAll(good);
    expect(sim.ticks(offlineGraceMs / 1000 + 12)).toMatchObject({ phase });
  });

  it('that is rolling back ends when reachable devices run what they ran before, or after the time for it', () => {
    const sim = simulate({ waves: [{ percent: 100 }] }, 3);
    sim.tick();
    sim.deployed();
    sim.state = { phase: 'rolling_back', since: sim.now, reason: 'by hand' };
    sim.ticks(3);
    expect(sim.state.phase).toBe('rolling_back');
    for (const device of sim.devices.slice(1)) {
      device.report = { name: 'net', active: { version: 1, since: 0 }, lastGood: 1, candidate: null };
    }
    expect(sim.ticks(50).phase).toBe('rolling_back');
    sim.ticks(46);
    const last = sim.tick(2);
    expect(last).toMatchObject({ state: { phase: 'rolled_back' }, note: 'not confirmed by d0 (told to fetch)' });
  });

  it('ends as superseded when a newer one has its last device, also while it is paused', () => {
    const sim = simulate({}, 3);
    for (const device of sim.devices) device.claimedBy = 'rollout-3';
    const by = { phase: 'superseded', at: sim.now, by: 'rollout-3' };
    expect(decide(sim.look())).toMatchObject({ state: by, assign: [], revert: [] });
    sim.state = { phase: 'paused', reason: '', resume: { phase: 'running', wave: 0, step: 'baking', since: 0 } };
    expect(decide(sim.look()).state).toEqual(by);
  });

  it('goes on for the devices that a newer one does not claim', () => {
    const sim = simulate(twoWaves, 10);
    sim.tick();
    for (const device of sim.devices.slice(0, 6)) device.claimedBy = 'rollout-3';
    sim.deployed();
    sim.serveAll(good);
    sim.ticks(12);
    sim.deployed();
    sim.serveAll(good);
    expect(sim.ticks(12)).toMatchObject({ phase: 'completed' });
    const mine = sim.devices.filter(({ desired }) => desired?.rolloutId === rolloutId).map(({ id }) => id);
    expect(mine).toEqual(expect.arrayContaining(['d6', 'd7', 'd8', 'd9']));
    expect(verdicts(sim.look()).find(({ deviceId }) => !mine.includes(deviceId))).toMatchObject({
      state: 'waiting',
      detail: 'left to the newer rollout rollout-3',
    });
  });

  it('judges what it has given until a newer one takes it: it neither completes meanwhile nor lets a failure stand', () => {
    const sim = simulate(twoWaves, 10);
    sim.tick();
    sim.deployed();
    sim.serveAll(good);
    for (const device of sim.devices) device.claimedBy = 'rollout-3';
    expect(sim.ticks(30)).toMatchObject({ phase: 'running', wave: 0 });
    expect(decide(sim.look()).gates[0]?.detail).toBe('all devices are left to the newer rollout rollout-3');
    expect(sim.members()).toHaveLength(2);
    const [taken, left] = sim.members();
    if (taken === undefined || left === undefined) throw new Error('two were given the version');
    taken.desired = { version: 3, release, rolloutId: 'rollout-3' };
    sim.tick();
    sim.fails(left);
    expect(sim.tick()).toMatchObject({ state: { phase: 'rolling_back' }, revert: [left.id] });
  });

  it('takes a device again that a newer one has let go of', () => {
    const sim = simulate({ waves: [{ percent: 100 }] }, 2);
    sim.tick();
    const [device] = sim.devices;
    if (device === undefined) throw new Error('no device');
    device.desired = { version: 3, release, rolloutId: 'rollout-3' };
    device.claimedBy = 'rollout-3';
    expect(sim.tick().assign).toEqual([]);
    device.desired = { version: 1, release: release1, rolloutId: 'rollout-1' };
    device.claimedBy = null;
    expect(sim.tick().assign).toEqual([device.id]);
    expect(sim.tick().assign).toEqual([]);
  });
});

const fiveWaves = { waves: [20, 40, 60, 80, 100].map((percent) => ({ percent })) };

describe('devices that are away', () => {
  /** Seconds until it completes on 20 devices, with half of them last seen long ago. */
  function secondsToComplete(withAway: boolean): number {
    const sim = simulate(fiveWaves, 20);
    const order = waveOrder(
      'net',
      sim.devices.map(({ id }) => id),
    );
    for (const device of sim.devices) {
      // Every other one in the order of waves, so that each wave has some of both.
      device.online = order.indexOf(device.id) % 2 === 0 || !withAway;
      device.lastSeenAt = start - 86_400_000;
    }
    let seconds = 0;
    while (sim.state.phase === 'running' && seconds < 1000) {
      sim.deployed();
      sim.serveAll(good);
      sim.tick();
      seconds++;
    }
    expect(sim.state.phase).toBe('completed');
    return seconds;
  }

  it('are waited for once after a start of the server, not anew in each wave', () => {
    const alone = secondsToComplete(false);
    expect(secondsToComplete(true)).toBeLessThanOrEqual(alone + offlineGraceMs / 1000 + 1);
  });

  it('are not waited for when they were last seen long ago and the server has listened since', () => {
    const sim = simulate({}, 1, false);
    sim.listeningSince = start - offlineGraceMs;
    for (const device of sim.devices) device.lastSeenAt = start - 86_400_000;
    sim.tick();
    const away = () => decide(sim.look()).gates[0]?.detail;
    expect(away()).toBe('all 1 devices of this wave are offline');
    for (const device of sim.devices) device.lastSeenAt = sim.now;
    expect(away()).toBe('devices still under way: 1');
  });
});

describe('a number that stands for other bytes', () => {
  const other = 'c'.repeat(64);

  it('is not the version: the device is not serving, and says which bytes it runs', () => {
    const sim = simulate({ waves: [{ percent: 100 }], gates: { ...defaults, minRequests: 0 } }, 1);
    sim.tick();
    const [device] = sim.devices;
    if (device === undefined) throw new Error('no device');
    const report = { name: 'net', lastGood: version, candidate: null };
    device.report = { ...report, active: { version, release: other, since: 0 } };
    sim.ticks(30);
    expect(verdicts(sim.look())).toMatchObject([
      {
        state: 'deploying',
        detail: 'runs other bytes under the number 2: release cccccccc…, wanted bbbbbbbb…; told to fetch',
      },
    ]);
    device.report = { ...report, active: { version, release, since: 0 } };
    expect(sim.ticks(12)).toMatchObject({ phase: 'completed' });
  });

  it('is a failure when it takes the place of what was served', () => {
    const sim = simulate({}, 1);
    sim.tick();
    sim.deployed();
    sim.tick();
    for (const device of sim.devices) {
      const active = { version, release: other, since: 0 };
      device.report = { name: 'net', active, lastGood: version, candidate: null };
    }
    sim.tick();
    expect(sim.state).toMatchObject({ reason: expect.stringContaining('d0: runs other bytes under the number 2') });
  });

  it('is not what a device was to go back to', () => {
    const sim = simulate({ waves: [{ percent: 100 }] }, 1);
    sim.tick();
    sim.deployed();
    sim.state = { phase: 'rolling_back', since: sim.now, reason: 'by hand' };
    sim.tick();
    for (const device of sim.devices) {
      device.report = { name: 'net', active: { version: 1, release: other, since: 0 }, lastGood: 1, candidate: null };
    }
    expect(sim.ticks(5).phase).toBe('rolling_back');
    for (const device of sim.devices) {
      device.report = {
        name: 'net',
        active: { version: 1, release: release1, since: 0 },
        lastGood: 1,
        candidate: null,
      };
    }
    expect(sim.ticks(1).phase).toBe('rolled_back');
  });
});

describe('why a device is not serving', () => {
  const error = { code: 'insufficient_storage', message: 'no space left in /var/lib/edgeloop' };

  it('is in its own words: the error of the step, or else its problems, also when its time is over', () => {
    const sim = simulate({ onFailure: 'pause' }, 1);
    sim.tick();
    const [device] = sim.devices;
    if (device === undefined) throw new Error('no device');
    const detail = () => verdicts(sim.look())[0]?.detail;
    device.problems = ['the database cannot be written', 'the disk is full'];
    expect(detail()).toBe('told to fetch; the device says: the database cannot be written; the disk is full');
    const candidate = { version, rolloutId, state: 'fetching' as const, since: 0 };
    device.report = { name: 'net', active: null, lastGood: null, candidate: { ...candidate, error } };
    expect(detail()).toBe('fetching: insufficient_storage: no space left in /var/lib/edgeloop');
    sim.ticks(102);
    expect(sim.state).toMatchObject({
      phase: 'paused',
      reason: expect.stringContaining(
        'd0: not serving after 100 s online (fetching: insufficient_storage: no space left in /var/lib/edgeloop)',
      ),
    });
  });

  it('is said of those that did not confirm a rollback', () => {
    const sim = simulate({ waves: [{ percent: 100 }] }, 1);
    sim.tick();
    sim.deployed();
    sim.state = { phase: 'rolling_back', since: sim.now, reason: 'by hand' };
    sim.tick();
    for (const device of sim.devices) {
      const candidate = { version: 1, rolloutId: 'rollout-1', state: 'fetching' as const, since: 0, error };
      device.report = { name: 'net', active: { version, since: 0 }, lastGood: version, candidate };
    }
    sim.ticks(97);
    expect(sim.tick(2).note).toBe(
      'not confirmed by d0 (fetching: insufficient_storage: no space left in /var/lib/edgeloop)',
    );
  });
});

type Event =
  | { kind: 'tick'; seconds: number }
  | { kind: 'deploy' | 'fail' | 'fall_back' | 'toggle' | 'leave'; device: number }
  | { kind: 'serve'; failed: number }
  | { kind: 'join' };
const device = fc.nat(20);
const events: fc.Arbitrary<Event> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('tick' as const), seconds: fc.constantFrom(1, 5, 20, 90) }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('deploy' as const), device }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('fail' as const, 'fall_back' as const), device }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('toggle' as const, 'leave' as const), device }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('serve' as const), failed: fc.constantFrom(0, 0, 0, 1, 10) }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'join' as const }) },
);
const plans = fc.record({
  waves: fc
    .uniqueArray(fc.integer({ min: 1, max: 99 }), { maxLength: 3 })
    .map((list) => [...list.sort((a, b) => a - b), 100].map((percent) => ({ percent }))),
  bakeSeconds: fc.constantFrom(0, 10),
  onFailure: fc.constantFrom('rollback' as const, 'pause' as const),
  offlineDevices: fc.constantFrom('wait' as const, 'skip' as const),
  gates: fc.record({
    maxErrorRate: fc.constantFrom(0, 0.02, 0.2),
    minRequests: fc.constantFrom(0, 20),
    maxFailedDevices: fc.constantFrom(0, 0.3, 1),
    minHealthyDevices: fc.constantFrom(0, 0, 0.9),
    evidenceTimeoutSeconds: fc.constantFrom(30, 3600),
  }),
});

function happen(sim: ReturnType<typeof simulate>, event: Event): void {
  if (event.kind === 'join') sim.add();
  if (event.kind === 'serve') sim.serveAll({ requests: 10, failed: event.failed });
  if (!('device' in event)) return;
  const chosen = sim.devices[event.device % Math.max(1, sim.devices.length)];
  if (chosen === undefined) return;
  if (event.kind === 'deploy') sim.deployed([chosen]);
  if (event.kind === 'fail') sim.fails(chosen);
  if (event.kind === 'toggle') chosen.online = !chosen.online;
  if (event.kind === 'leave') chosen.matches = !chosen.matches;
  if (event.kind === 'fall_back') {
    chosen.report = { name: 'net', active: { version: 1, since: 0 }, lastGood: 1, candidate: null };
  }
}

/** What must hold of every single decision. `look`: what it was made on. */
function check(sim: ReturnType<typeof simulate>, look: Look, decision: Decision): void {
  const { gates } = sim.plan;
  const before = look.state;
  const after = decision.state;
  const waveOf = new Map(look.devices.map(({ id, member }) => [id, member?.wave]));
  if (decision.assign.length > 0) {
    if (after.phase !== 'running') throw new Error('assigned while not running');
    for (const id of decision.assign) expect(waveOf.get(id)).toBeLessThanOrEqual(after.wave);
  }
  if (terminal.includes(before.phase)) {
    expect(decision).toMatchObject({ state: before, assign: [], revert: [], observed: [] });
  }
  if (before.phase === 'paused') expect([decision.assign, decision.revert]).toEqual([[], []]);
  const advanced =
    before.phase === 'running' &&
    (after.phase === 'completed' || (after.phase === 'running' && after.wave > before.wave));
  if (advanced) {
    const seen = verdicts(look);
    const given = new Set(look.devices.filter((each) => isGiven(each)).map(({ id }) => id));
    const wave = seen.filter((each) => each.wave === before.wave && given.has(each.deviceId));
    const count = (state: string) => wave.filter((each) => each.state === state).length;
    const bad = count('failed') + count('timed_out');
    expect(count('deploying') + count('baking')).toBe(0);
    if (sim.plan.offlineDevices === 'wait') expect(count('offline')).toBe(0);
    expect(bad).toBeLessThanOrEqual(gates.maxFailedDevices * (count('healthy') + bad) + 1e-9);
    if (after.phase === 'running' && wave.length > 0) expect(count('healthy')).toBeGreaterThan(0);
    if (wave.length > 0) expect(count('healthy')).toBeGreaterThanOrEqual(gates.minHealthyDevices * wave.length - 1e-9);
    const ids = wave.map(({ deviceId }) => sim.requests.get(deviceId) ?? { requests: 0, failed: 0 });
    const asked = ids.reduce((sum, { requests }) => sum + requests, 0);
    const failed = ids.reduce((sum, { failed: some }) => sum + some, 0);
    if (count('healthy') > 0) {
      expect(asked).toBeGreaterThanOrEqual(gates.minRequests);
      expect(failed).toBeLessThanOrEqual(gates.maxErrorRate * asked);
    }
    if (after.phase === 'completed') expect(seen.some(({ state }) => state === 'healthy')).toBe(true);
  }
}
function isGiven({ member, desired }: DeviceView): boolean {
  return member?.assignedAt != null && desired?.rolloutId === rolloutId;
}
function owned(sim: ReturnType<typeof simulate>, id: string): boolean {
  return sim.devices.some((each) => each.id === id && each.desired?.rolloutId === rolloutId);
}

describe('whatever happens to the fleet', () => {
  it('waves stay in bounds, gates hold, ends are ends, rollbacks give back exactly what was given, and looking again decides the same', () => {
    const phases = new Set<string>();
    fc.assert(
      fc.property(plans, fc.nat(8), fc.array(events, { maxLength: 80 }), (plan, size, history) => {
        const sim = simulate(plan, size);
        for (const event of history) {
          happen(sim, event);
          sim.pass(event.kind === 'tick' ? event.seconds : 1);
          const ownedBefore = sim.devices.filter(({ id }) => owned(sim, id)).map(({ id }) => id);
          const others = JSON.stringify(sim.devices.filter((each) => !isGiven(each)).map((each) => each.desired));
          const look = structuredClone(sim.look());
          const again = decide(JSON.parse(JSON.stringify(look)));
          const decision = sim.decide();
          expect(JSON.stringify(again)).toBe(JSON.stringify(decision));
          check(sim, look, decision);
          if (decision.revert.length > 0) {
            expect([...decision.revert].sort()).toEqual([...ownedBefore].sort());
            expect(sim.devices.every(({ desired }) => desired?.rolloutId === 'rollout-1')).toBe(true);
          }
          if (decision.assign.length === 0) {
            const left = sim.devices.filter(({ id }) => !ownedBefore.includes(id));
            expect(JSON.stringify(left.map((each) => each.desired))).toBe(others);
          }
          phases.add(phaseOf(sim.state));
        }
      }),
      { numRuns: 400 },
    );
    expect([...phases].sort()).toEqual(['completed', 'paused', 'rolled_back', 'rolling_back', 'running']);
  });
});

describe('waves', () => {
  const labelled = (total: number) =>
    Array.from({ length: total }, (_, i) => ({ id: `device-${i}`, labels: { site: `s${i % 3}` } }));
  const labelsOf = (site: string | undefined): Record<string, string> => (site === undefined ? {} : { site });
  const sizes = (planned: { wave: number }[]) => {
    const counts: number[] = [];
    for (const { wave } of planned) counts[wave] = (counts[wave] ?? 0) + 1;
    return counts;
  };

  it('take everybody once, at least one at first, in an order that names alone decide', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), (total) => {
        const plan = RolloutPlan.parse({});
        const devices = labelled(total);
        const planned = planWaves({ model: 'net', plan }, devices);
        expect(planWaves({ model: 'net', plan }, [...devices].reverse())).toEqual(planned);
        expect(new Set(planned.map(({ deviceId }) => deviceId)).size).toBe(total);
        expect(planned.filter(({ wave }) => wave === 0)).toHaveLength(waveSize(plan.waves[0], total));
        expect(planned.map(({ wave }) => wave)).toEqual(planned.map(({ wave }) => wave).sort((a, b) => a - b));
      }),
    );
    expect(waveSize({ percent: 33.3 }, 1000)).toBe(333);
    expect(waveSize({ percent: 10 }, 0)).toBe(0);
  });

  it('take a group first, then numbers, then shares of all', () => {
    const waves = [{ selector: 'site=s0' }, { devices: 12 }, { devices: 20 }, { percent: 100 }];
    const planned = planWaves({ model: 'net', plan: RolloutPlan.parse({ waves }) }, labelled(30));
    expect(sizes(planned)).toEqual([10, 2, 8, 10]);
    const first = planned.filter(({ wave }) => wave === 0).map(({ deviceId }) => Number(deviceId.slice(7)) % 3);
    expect(new Set(first)).toEqual(new Set([0]));
  });

  it('spread over a label take the same share of each of its values, as near as numbers allow', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'b', 'c', undefined), { minLength: 1, maxLength: 80 }), (sites) => {
        const devices = sites.map((site, i) => ({ id: `d${i}`, labels: labelsOf(site) }));
        const plan = RolloutPlan.parse({ spread: 'site', waves: [{ percent: 25 }, { percent: 100 }] });
        const planned = planWaves({ model: 'net', plan }, devices);
        for (const site of new Set(sites)) {
          const among = planned.filter(({ deviceId }) => sites[Number(deviceId.slice(1))] === site);
          const early = among.filter(({ wave }) => wave === 0).length;
          expect(Math.abs(early - among.length / 4)).toBeLessThanOrEqual(1.5);
        }
      }),
    );
  });
});

describe('gates that the field is asked for', () => {
  const verdict = (verdict: GateVerdict['verdict'], blocking: boolean): GateVerdict => ({
    ...{ gate: 'accuracy', verdict, blocking, detail: 'as the labels say' },
  });
  function judged(gates: GateVerdict[]) {
    const sim = simulate({ waves: [{ percent: 50 }, { percent: 100 }], bakeSeconds: 0 }, 4);
    sim.tick();
    sim.deployed();
    sim.ticks(2);
    sim.serveAll({ requests: 100, failed: 0 });
    return { sim, decision: decide({ ...sim.look(), now: sim.now + 4_000_000, gates }) };
  }

  it('stop the rollout in its wave, hold the wave up, and pause it when the evidence does not come', () => {
    const failed = judged([verdict('failed', true)]).decision;
    expect(failed.state).toMatchObject({ phase: 'rolling_back', reason: 'wave 1: as the labels say' });
    expect(failed.wave).toMatchObject({ wave: 0, outcome: 'failed', gates: [{}, {}, verdict('failed', true)] });
    expect(judged([verdict('passed', true)]).decision.state).toMatchObject({ phase: 'running', wave: 1 });
    const { sim } = judged([]);
    const waiting = { ...sim.look(), gates: [verdict('inconclusive', true)] };
    const held = decide(waiting);
    expect(held.state).toMatchObject({ phase: 'running', wave: 0, step: 'judging' });
    expect(decide({ ...waiting, state: held.state, now: sim.now + 4_000_000 }).state).toMatchObject({
      phase: 'paused',
      reason: 'no verdict on wave 1 within 3600 s: as the labels say',
    });
  });

  it('only warn when they are not to hold anything up', () => {
    for (const word of ['failed', 'inconclusive'] as const) {
      const { decision } = judged([verdict(word, false)]);
      expect(decision.state).toMatchObject({ phase: 'running', wave: 1 });
      expect(decision.gates).toContainEqual(verdict(word, false));
    }
  });
});
