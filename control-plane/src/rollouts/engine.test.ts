// A rollout to a fleet of devices that fetch, fail, fall back, come and go, under a clock of its own, with servers that start anew
// and operators who speak: what must hold however all that falls together.
import { RolloutPlan, type RolloutState } from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';
import type { ModelReport } from '@edgeloop/shared/messages';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { act, type RolloutAction, rolloutActions } from './actions.ts';
import { firstState } from './approvals.ts';
import { type DeviceView, isTrial, type Member, runsDesired, wordOf } from './device-state.ts';
import type { Progress } from './progress.ts';
import { decideOn, type Given, planOf, progressOn } from './rollout-state.ts';

const id = 'rollout-2';
const good = { version: 1, release: 'a'.repeat(64), rolloutId: 'rollout-1' };
const next = { version: 2, release: 'b'.repeat(64), rolloutId: id };
const start = 1_000_000;
const over: RolloutState['phase'][] = ['completed', 'cancelled', 'rolled_back'];

interface Settings {
  plan: RolloutPlan;
  devices: number;
  /** How the version fails on every device; undefined: it does not. */
  bad: 'at load' | 'while serving' | undefined;
}

class World {
  now = start;
  state: RolloutState;
  planned = false;
  readonly devices: DeviceView[];
  readonly settings: Settings;
  /** Devices that were ever told the version, and those that ran it when it was cancelled. */
  readonly told = new Set<string>();
  readonly approved = new Set<number>();
  readonly kept = new Map<string, number | undefined>();
  /** When each began with what it was told. */
  readonly #busy = new Map<string, { word: string; at: number }>();
  #progress: Progress;

  constructor(settings: Settings) {
    this.settings = settings;
    this.state = firstState(settings.plan, start);
    this.devices = Array.from({ length: settings.devices }, (_, i) => ({
      ...{ id: `d${i}`, labels: { site: `s${i % 3}` }, matches: true, claimedBy: null, conflicting: false },
      ...{ online: true, lastSeenAt: start, problems: [], desired: good, member: null },
      report: reporting(1),
    }));
    this.#progress = this.#fresh();
  }

  #fresh(): Progress {
    const subject = { id, model: 'net', version: 2, plan: this.settings.plan };
    return progressOn({ subject, devices: this.devices, now: this.now, listeningSince: start });
  }

  /** What was in memory is gone; what was stored is as JSON keeps it. */
  restart(): void {
    const stored: DeviceView[] = JSON.parse(JSON.stringify(this.devices));
    this.devices.splice(0, this.devices.length, ...stored);
    this.#progress = this.#fresh();
  }

  #put(device: DeviceView, change: Partial<DeviceView>): void {
    Object.assign(device, change);
    this.#progress.update({ ...device }, { now: this.now, listeningSince: start });
  }

  #one(deviceId: string): DeviceView {
    const found = this.devices.find((each) => each.id === deviceId);
    if (found === undefined) throw new Error(`no device ${deviceId}`);
    return found;
  }

  /** Time passes; devices do what they were told; the server looks. */
  pass(seconds: number): void {
    this.now += seconds * 1000;
    for (const device of this.devices) this.#live(device);
    this.look();
  }

  #live(device: DeviceView): void {
    if (!device.online) return;
    device.lastSeenAt = this.now;
    if (device.desired !== null) this.#put(device, this.#doing(device, wordOf(device.desired)));
    const { beside } = device.desired ?? {};
    const said = device.report?.beside;
    if (beside === undefined) {
      if (said !== undefined && device.report !== null)
        this.#put(device, { report: { ...device.report, beside: undefined } });
    } else if (said?.rolloutId !== wordOf(beside) && device.report !== null) {
      const about = { version: 2, release: next.release, rolloutId: wordOf(beside), since: 0 };
      const failing = this.settings.bad === 'at load' ? { ...about, state: 'failed' as const } : undefined;
      this.#put(device, { report: { ...device.report, beside: failing ?? { ...about, state: 'running' } } });
    }
  }

  /** Fetching takes five seconds; a version that is bad fails then, or when it has served for five more. */
  #doing({ id: deviceId, desired, report }: DeviceView, word: string): Partial<DeviceView> {
    const begun = this.#busy.get(deviceId);
    if (begun?.word !== word) {
      this.#busy.set(deviceId, { word, at: this.now });
      return {};
    }
    const failed = report?.candidate?.state === 'failed' && report.candidate.rolloutId === word;
    if (failed || this.now - begun.at < 5000) return {};
    if (desired?.version === 1) return { report: reporting(1) };
    const serving = report?.active?.version === 2;
    const { bad } = this.settings;
    const dies = bad === 'at load' ? !serving : serving && this.now - begun.at >= 10_000;
    return { report: bad !== undefined && dies ? failing(word) : reporting(2) };
  }

  look(): void {
    this.#progress.tick({ now: this.now, listeningSince: start });
    for (let plan = planOf(this.#progress, this.#given()); plan !== undefined; ) {
      for (const { deviceId, wave, rank, later = [] } of plan.members) {
        const device = this.#one(deviceId);
        if (device.member?.assignedAt == null)
          this.#put(device, { member: { ...unseen, wave, rank, later, connectionSince: this.now } });
      }
      this.planned = true;
      this.state = plan.restart ?? this.state;
      plan = planOf(this.#progress, this.#given());
    }
    const decision = decideOn(this.#progress, this.#given());
    for (const { deviceId, member } of decision.observed) this.#put(this.#one(deviceId), { member });
    this.#progress.remembered(decision.observed);
    this.state = decision.state;
    for (const deviceId of decision.assign) this.#tell(deviceId, 1);
    for (const deviceId of decision.revert) this.#put(this.#one(deviceId), { desired: good });
    for (const deviceId of decision.moved ?? []) {
      const device = this.#one(deviceId);
      const [wave = 0, ...later] = device.member?.later ?? [];
      const { rank = null } = device.member ?? {};
      this.#put(device, { desired: good, member: { ...unseen, wave, rank, later, connectionSince: this.now } });
    }
    for (const { deviceId, outcome, detail } of decision.endings) {
      const device = this.#one(deviceId);
      if (device.member?.outcome === null) this.#put(device, { member: { ...device.member, outcome, detail } });
    }
  }

  #tell(deviceId: string, attempt: number): void {
    if (this.state.phase !== 'running') throw new Error('told while not running');
    const device = this.#one(deviceId);
    const { wave } = this.state;
    for (const [i, { approval }] of this.settings.plan.waves.entries())
      if (i <= wave && approval !== undefined) expect(this.approved).toContain(i);
    const { rank = null, later = [] } = device.member ?? {};
    const times = { assignedAt: this.now, connectionSince: this.now };
    const member = { ...unseen, ...times, wave, rank, later, attempt };
    const beside = { ...next, attempt };
    if (isTrial({ plan: this.settings.plan }, wave)) this.#put(device, { desired: { ...good, beside }, member });
    else {
      this.told.add(deviceId);
      this.#put(device, { desired: { ...next, attempt }, member });
    }
  }

  #given(): Given {
    const counts = { requests: 1000, failed: 0 };
    const { now, state, planned } = this;
    const agreement = { gate: 'shadow_agreement' as const, verdict: 'passed' as const, detail: 'they agree' };
    return { gates: [agreement], now, listeningSince: start, state, planned, evidence: { wave: counts, all: counts } };
  }

  /** As the API does it, in one transaction. */
  say(action: RolloutAction): void {
    const before = this.state;
    try {
      const { plan } = this.settings;
      this.state = act(before, { action, actor: 'key:test', reason: '', plan, now: this.now });
      if (action === 'approve' && before.phase === 'awaiting_approval') this.approved.add(before.wave ?? 0);
    } catch (error) {
      if (error instanceof AppError && error.code === 'conflict') return;
      throw error;
    }
    if (action === 'retry' && this.state.phase === 'running')
      for (const deviceId of [...this.#progress.failed])
        this.#tell(deviceId, (this.#progress.member(deviceId)?.attempt ?? 1) + 1);
    if (action !== 'cancel') return;
    for (const device of this.devices) {
      const tries = device.desired?.beside !== undefined;
      if (tries || (device.desired?.rolloutId === id && !runsDesired(device))) this.#put(device, { desired: good });
      this.kept.set(device.id, device.desired?.version);
    }
  }

  toggle(i: number): void {
    const device = this.devices[i % this.devices.length];
    if (device !== undefined) this.#put(device, { online: !device.online });
  }
}

const unseen: Member = {
  ...{ wave: 0, rank: null, assignedAt: null, attempt: 1, online: false, connectionSince: start },
  ...{ servingSince: null, outcome: null, detail: null },
};
function reporting(version: number): ModelReport {
  return { name: 'net', active: { version, since: 0 }, lastGood: version, candidate: null };
}
function failing(rolloutId: string): ModelReport {
  const error = { code: 'model_rejected', message: 'golden sample 0' };
  return { ...reporting(1), candidate: { version: 2, rolloutId, state: 'failed', since: 0, error } };
}

const plans = fc
  .record({
    waves: fc.constantFrom(
      [{ percent: 100 }],
      [{ percent: 20 }, { percent: 60 }, { percent: 100 }],
      [{ devices: 1 }, { percent: 50 }, { percent: 100 }],
      [{ selector: 'site=s1' }, { percent: 100 }],
      [{ percent: 30 }, { percent: 100, name: 'all', approval: {} }],
      [{ percent: 20, kind: 'shadow' as const }, { percent: 20, name: 'few', approval: {} }, { percent: 100 }],
      [
        { devices: 2, kind: 'shadow' as const },
        { selector: 'site=s0', kind: 'split' as const, share: 0.3 },
        { percent: 100 },
      ],
      [
        { selector: 'site=s1', name: 'lab', approval: {} },
        { selector: 'site=none', name: 'pilot', approval: {} },
        { percent: 100 },
      ],
    ),
    bakeSeconds: fc.constantFrom(20, 60),
    deployTimeoutSeconds: fc.constantFrom(30, 120),
    onFailure: fc.constantFrom('rollback' as const, 'pause' as const),
    spread: fc.constantFrom(undefined, 'site'),
    rate: fc.constantFrom(undefined, { start: 2, factor: 2, growAfter: 2 }),
    maxUnavailable: fc.constantFrom(undefined, { label: 'site', devices: 1 }),
    offlineAfterSeconds: fc.constantFrom(0, 60),
  })
  .map((plan) => RolloutPlan.parse({ ...plan, gates: { evidenceTimeoutSeconds: 300 } }));
const events = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(1, 5, 20, 90).map((seconds) => (world: World) => world.pass(seconds)) },
  { weight: 3, arbitrary: fc.nat(20).map((i) => (world: World) => world.toggle(i)) },
  { weight: 1, arbitrary: fc.constant((world: World) => world.restart()) },
  { weight: 1, arbitrary: fc.constantFrom(...rolloutActions).map((action) => (world: World) => world.say(action)) },
);

/** What must hold at every moment. */
function check(world: World): void {
  const { state, devices, settings } = world;
  if (state.phase === 'cancelled')
    for (const { id: device, desired } of devices) expect(desired?.version).toBe(world.kept.get(device));
  if (state.phase === 'rolled_back') for (const { desired } of devices) expect(desired).toEqual(good);
  if (settings.bad === undefined) return;
  // Nobody is ever answered with what failed beside what answers.
  if (settings.bad === 'at load' && isTrial({ plan: settings.plan }, 0)) expect(world.told.size).toBe(0);
  const planned = devices.flatMap(({ member }) => (member === null ? [] : [member.wave, ...(member.later ?? [])]));
  // A group that nobody is in makes no wave.
  const first = Math.min(...planned.filter((wave) => !isTrial({ plan: settings.plan }, wave)));
  expect(world.told.size).toBeLessThanOrEqual(planned.filter((wave) => wave === first).length);
  expect(state.phase).not.toBe('completed');
}

it('every rollout ends, a failing version never passes its first wave, cancel moves nobody, and a rollback restores the last good version', {
  timeout: 240_000,
}, () => {
  const ends = new Set<string>();
  fc.assert(
    fc.property(
      fc.record({
        plan: plans,
        devices: fc.integer({ min: 1, max: 12 }),
        bad: fc.constantFrom<Settings['bad'][]>(undefined, undefined, 'at load', 'while serving'),
      }),
      fc.array(events, { maxLength: 60, size: 'max' }),
      (settings, history) => {
        const world = new World(settings);
        for (const happen of history) {
          happen(world);
          check(world);
        }
        for (const device of world.devices) if (!device.online) world.toggle(world.devices.indexOf(device));
        for (let i = 0; i < 400 && !over.includes(world.state.phase); i++) {
          // Whoever watches it takes back what stopped for a failure, and lets go on what was stopped by hand.
          if (world.state.phase === 'paused')
            world.say(world.state.reason.startsWith('paused') ? 'resume' : 'rollback');
          world.say('approve');
          world.pass(15);
          check(world);
        }
        expect(over).toContain(world.state.phase);
        ends.add(`${world.state.phase} ${settings.bad ?? 'good'}`);
        world.pass(15);
        world.pass(15);
        const runs = new Set(world.devices.map(({ report }) => report?.active?.version));
        for (const { desired, report } of world.devices)
          expect([desired?.beside, report?.beside]).toEqual([undefined, undefined]);
        if (world.state.phase === 'rolled_back') expect([...runs]).toEqual([1]);
        if (world.state.phase === 'completed') expect([...runs]).toContain(2);
      },
    ),
    { numRuns: 300 },
  );
  for (const end of ['completed good', 'cancelled good', 'rolled_back at load', 'rolled_back while serving'])
    expect([...ends]).toContain(end);
});
