import { type AlertRuleSpec, AlertRuleSpec as SpecSchema } from '@edgeloop/shared/api/alert-rules';
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { batchOf, labelOf, openTelemetry, windowOf } from '../../telemetry/telemetry-fixture.ts';
import { createRandom } from '../../training/trainers/random.ts';
import { createMonitoring, type MonitoringDeps } from '../monitoring.ts';
import { deviceOf, openMonitoring } from '../monitoring-fixture.ts';
import { histogramOf, normal, profileOf, samplesOf } from '../statistics/profile-fixture.ts';

const random = createRandom(21);
const profile = profileOf(samplesOf(5000, () => normal(random)));
const still = profileOf(samplesOf(5000, () => normal(random)));
const reference: ReferenceProfile = { rows: 5000, features: { x: profile, y: still }, accuracy: 0.9 };
/** Rule windows of ten seconds; the first begins at 100 s. */
const seconds = 10;
const first = 100_000;
const at = (window: number) => first + window * seconds * 1000;
const drift = SpecSchema.parse({ kind: 'drift', model: 'm', windowSeconds: seconds });

let room: ReturnType<typeof openTelemetry>;
let monitoring: ReturnType<typeof createMonitoring>;
let fired: Alert[];
let sequence: number;
/** What devices say; nothing in most of the tests. */
let fleet: ReturnType<typeof deviceOf>[];

beforeEach(() => {
  fired = [];
  fleet = [];
  sequence = 0;
  room = openTelemetry({ driftSeries: (query) => monitoring.driftSeries(query) });
  monitoring = monitoringOver({});
});
afterEach(() => room.close());

function monitoringOver(overrides: Partial<MonitoringDeps>) {
  const opened = openMonitoring(room, {
    reference: async (model, version) => (model === 'm' && version < 9 ? reference : undefined),
    deviceLabels: async () => new Map([['a', { site: 'paris' }]]),
    onFiring: async (alert) => {
      fired.push(alert);
      return { runs: [`run-of-${alert.id}`] };
    },
    fleetFigures: async () => ({ devices: fleet, diskFreeShare: null }),
    links: {
      run: async () => ({ at: 0, summary: 'a run', rolloutId: 'rollout-of-run' }),
      rollout: async () => undefined,
    },
    ...overrides,
  });
  return opened.monitoring;
}

interface Sent {
  window: number;
  version?: number;
  device?: string;
  shift?: number;
  count?: number;
}
async function send({ window, version = 1, device = 'a', shift = 0, count = 400 }: Sent) {
  const histogram = (edges: number[], by: number) =>
    histogramOf(
      edges,
      samplesOf(count, () => normal(random) + by),
    );
  const features = { x: histogram(profile.edges, shift), y: histogram(still.edges, 0) };
  const item = windowOf({ startedAt: at(window) + 2000, version, features, succeeded: count, rows: count });
  await room.telemetry.ingest(device, batchOf([item], { first: ++sequence }));
}
async function label({ window, right, wrong }: { window: number; right: number; wrong: number }) {
  const labels = Array.from({ length: right + wrong }, (_, i) =>
    labelOf({
      ...{ inferenceId: `${sequence}-${i}`, predictedAt: at(window) + i, labelledAt: room.clock.at },
      label: i < right ? 'a' : 'b',
    }),
  );
  await room.telemetry.ingest('a', batchOf([{ kind: 'labels', labels }], { first: ++sequence }));
}
/** Looks once, when the window and its time of grace are over. */
async function lookAfter(window: number, built = monitoring) {
  room.clock.at = at(window + 1) + 2500;
  await built.tick();
}
async function alerts(): Promise<Alert[]> {
  return (await monitoring.alerts.list({ limit: 100 })).items;
}
async function statuses() {
  return (await alerts()).map(({ status }) => status);
}

/** Without those of every fleet. */
async function judgedRules() {
  return (await monitoring.rules.all()).filter(({ spec }) => spec.kind !== 'metric');
}

async function withRule(spec: AlertRuleSpec = drift) {
  return monitoring.rules.create('key:test', spec);
}

test('drift opens an alert, fires at the second window, names what moved, and resolves when calm', async () => {
  await withRule();
  const seen: string[] = [];
  for (const [window, shift] of [0, 0, 1.5, 1.5, 1.5, 0, 0].entries()) {
    await send({ window, shift });
    await lookAfter(window);
    seen.push((await statuses())[0] ?? 'none');
  }
  expect(seen).toEqual(['none', 'none', 'pending', 'firing', 'firing', 'firing', 'resolved']);
  const [alert] = await alerts();
  expect(alert).toMatchObject({ kind: 'drift', model: 'm', version: 1, startedAt: at(2), firedAt: at(4) + 2500 });
  expect(alert?.features.map(({ name }) => name)).toEqual(['x']);
  expect(fired.map(({ id, status }) => [id, status])).toEqual([[alert?.id, 'firing']]);
  expect(fired[0]?.summary).toMatch(/1 of 2 signals moved, most of all x \(PSI \d/);
  expect(room.events.filter((event) => event.startsWith('alert'))).toEqual(
    expect.arrayContaining(['alert pending', 'alert firing', 'alert resolved']),
  );
});

test('once started it looks by itself, until it is closed', async () => {
  await withRule();
  const running = createMonitoring({
    ...{ database: room.database, telemetry: room.telemetry, now: room.clock.now, log: pino({ level: 'silent' }) },
    ...{ reference: async () => reference, deviceLabels: async () => new Map(), onFiring: async () => ({ runs: [] }) },
    ...{ fleetFigures: async () => ({ devices: [], diskFreeShare: null }) },
    links: { run: async () => undefined, rollout: async () => undefined },
    notify: () => {},
  });
  running.start(new AbortController().signal);
  await send({ window: 0, shift: 1.5 });
  room.clock.at = at(1) + 2500;
  await vi.waitFor(async () => expect(await statuses()).toEqual(['pending']), 10_000);
  await running.close();
});

test('a window is judged only after its time of grace, and again when data of it comes late', async () => {
  await withRule();
  await send({ window: 0, count: 100 });
  room.clock.at = at(1) + 2400;
  await monitoring.tick();
  const judged = () => room.database.read.select().from(room.database.tables.evaluations);
  expect(await judged()).toEqual([]);
  await lookAfter(0);
  expect(await judged()).toMatchObject([{ verdict: 'insufficient', samples: 100 }]);
  await send({ window: 0, device: 'late', count: 300, shift: 1.5 });
  await lookAfter(1);
  expect(await judged()).toMatchObject([{ verdict: 'suspicious', samples: 400, windowStart: at(0) }]);
  expect(await statuses()).toEqual(['pending']);
});

test('what came while nobody looked is judged after a restart, once', async () => {
  await withRule();
  for (const window of [0, 1]) await send({ window, shift: 1.5 });
  const restarted = monitoringOver({});
  await lookAfter(1, restarted);
  expect(await statuses()).toEqual(['firing']);
  await lookAfter(2, monitoringOver({}));
  await lookAfter(3, monitoringOver({}));
  expect(await statuses()).toEqual(['firing']);
  expect(fired).toHaveLength(1);
});

test('whoever acts on a firing alert is told again until it takes the word', async () => {
  let calls = 0;
  const stubborn = monitoringOver({
    onFiring: async () => {
      calls += 1;
      if (calls < 3) throw new Error('busy');
      return { runs: [] };
    },
  });
  await withRule();
  for (const window of [0, 1]) await send({ window, shift: 1.5 });
  for (const window of [1, 2, 3, 4, 5]) await lookAfter(window, stubborn);
  expect(calls).toBe(3);
});

test('one device among several is told from the fleet', async () => {
  await withRule();
  for (const window of [0, 1]) {
    await send({ window, shift: 2 });
    for (const device of ['b', 'c']) await send({ window, device });
    await lookAfter(window);
  }
  expect((await alerts())[0]).toMatchObject({ status: 'firing', scope: { kind: 'device', devices: ['a'] } });
});

test('the alert of a version that another one replaced resolves and does not come back', async () => {
  await withRule();
  for (const window of [0, 1]) {
    await send({ window, shift: 1.5 });
    await lookAfter(window);
  }
  for (const window of [2, 3, 4, 5, 6]) {
    await send({ window, version: 2 });
    await lookAfter(window);
  }
  const [alert, ...others] = await alerts();
  expect(others).toEqual([]);
  expect(alert).toMatchObject({ version: 1, status: 'resolved' });
  expect(alert?.resolution).toEqual({
    kind: 'replaced',
    summary: 'version 1 no longer answers requests; version 2 does',
  });
  expect(alert?.summary).toMatch(/1 of 2 signals moved, most of all x/);
  await send({ window: 1, shift: 1.5, device: 'b' });
  await lookAfter(7);
  expect(await statuses()).toEqual(['resolved']);
});

test('an alert does not end while a device still runs the version, however idle it is', async () => {
  fleet = [deviceOf('a', { runs: 2 }), deviceOf('b', { status: 'offline' }), deviceOf('c')];
  await withRule();
  for (const window of [0, 1]) await send({ window, shift: 1.5 });
  await lookAfter(1);
  for (const window of [2, 3, 4, 5, 6, 7]) {
    await send({ window, version: 2 });
    await lookAfter(window);
  }
  expect(await statuses()).toEqual(['firing']);
  fleet = [deviceOf('a', { runs: 2 }), deviceOf('b', { runs: 2 }), deviceOf('c', { runs: 2 })];
  await lookAfter(8);
  const [alert] = await alerts();
  expect(alert).toMatchObject({ status: 'resolved', resolution: { kind: 'replaced' } });
  const { steps } = await monitoring.alerts.chain(alert?.id ?? '');
  expect(steps.map(({ what, role, id }) => [what, role, id])).toEqual(
    expect.arrayContaining([
      ['rollout', 'cause', 'rollout-1'],
      ['run', 'consequence', `run-of-${alert?.id}`],
      ['rollout', 'consequence', 'rollout-of-run'],
      ['rollout', 'end', 'rollout-2'],
      ['alert_resolved', 'end', alert?.id],
    ]),
  );
  expect(alert?.links).toEqual({
    ...{ causedBy: ['rollout-1'], runs: [`run-of-${alert?.id}`] },
    ...{ rollouts: ['rollout-of-run'], resolvedBy: ['rollout-2'] },
  });
});

test('an alert says since when nothing could be judged, and of when its numbers are', async () => {
  await withRule();
  for (const window of [0, 1]) {
    await send({ window, shift: 1.5 });
    await lookAfter(window);
  }
  expect((await alerts())[0]?.evidence).toMatchObject({ state: 'fresh', numbersAt: at(2) });
  await send({ window: 2, count: 40 });
  await lookAfter(2);
  const thin = (await alerts())[0];
  expect(thin).toMatchObject({ status: 'firing', evidence: { state: 'insufficient', since: at(2), numbersAt: at(2) } });
  expect(thin?.evidence.detail).toMatch(
    /^no new evidence since 1970-01-01T00:02:00Z \(.*\(40\).*\); numbers are of 1970-01-01T00:02:00Z$/,
  );
  await lookAfter(9);
  expect((await alerts())[0]?.evidence).toMatchObject({ state: 'insufficient', since: at(2) });
  await send({ window: 10, shift: 1.5 });
  await lookAfter(10);
  expect((await alerts())[0]?.evidence).toMatchObject({ state: 'fresh', numbersAt: at(11) });
});

test('an alert that ended still says what had moved, and how its numbers were', async () => {
  await withRule();
  for (const [window, shift] of [1.5, 1.5, 0, 0].entries()) {
    await send({ window, shift });
    await lookAfter(window);
  }
  const [listed] = await alerts();
  const alert = await monitoring.alerts.alert(listed?.id ?? '');
  expect(alert).toMatchObject({ status: 'resolved', resolution: { kind: 'calm' } });
  expect(alert.summary).toMatch(/1 of 2 signals moved, most of all x/);
  expect(alert.resolution?.summary).toMatch(/^calm again: nothing moved/);
  expect(alert.features.map(({ name }) => name)).toEqual(['x']);
  expect(alert.history.map((point) => point.at)).toEqual([0, 1, 2, 3].map(at));
  expect(Number(alert.history[1]?.value)).toBeGreaterThan(10 * Number(alert.history[3]?.value));
});

test('a fleet that falls silent keeps its alert', async () => {
  await withRule();
  for (const window of [0, 1]) await send({ window, shift: 1.5 });
  await lookAfter(1);
  await lookAfter(50);
  expect(await statuses()).toEqual(['firing']);
});

test('accuracy is judged from labels, whenever they come', async () => {
  await withRule(SpecSchema.parse({ kind: 'accuracy', model: 'm', windowSeconds: seconds }));
  for (const window of [0, 1, 2, 3, 4]) await send({ window });
  await lookAfter(4);
  expect(await statuses()).toEqual([]);
  for (const window of [0, 1]) await label({ window, right: 60, wrong: 40 });
  await lookAfter(5);
  const [alert] = await alerts();
  expect(alert).toMatchObject({ kind: 'accuracy', status: 'firing', value: 0.6 });
  expect(alert?.summary).toMatch(
    /accuracy 60\.0 % of 100 labels .* expected 90\.0 % from 5000 rows: a loss of 20\.\d to 39\.\d points/,
  );
  for (const window of [2, 3]) await label({ window, right: 89, wrong: 11 });
  await lookAfter(6);
  expect(await statuses()).toEqual(['resolved']);
});

test('a model with a reference and no rule gets default rules, which stay away once deleted', async () => {
  await send({ window: 0 });
  await lookAfter(0);
  const ids = async () => (await judgedRules()).map(({ id }) => id);
  expect(await ids()).toEqual(['default-accuracy-m', 'default-drift-m']);
  for (const id of await ids()) await monitoring.rules.remove('key:test', id);
  const restarted = monitoringOver({});
  await send({ window: 1 });
  await lookAfter(1, restarted);
  expect(await ids()).toEqual([]);
});

test('models with a rule get none, and those without a reference drift rules that wait for one', async () => {
  await withRule();
  await send({ window: 0 });
  await room.telemetry.ingest('a', batchOf([windowOf({ model: 'unknown', startedAt: at(0) })], { first: ++sequence }));
  await lookAfter(0);
  const watched = (await judgedRules()).map(({ spec }) => `${spec.kind} ${spec.model}`);
  expect(watched.sort()).toEqual(['drift m', 'drift unknown']);
});

test('drift is there to query, by window, version and feature', async () => {
  await withRule();
  await send({ window: 0 });
  await send({ window: 1, shift: 1.5 });
  await lookAfter(1);
  const query = { metric: 'drift', model: 'm', from: at(0), to: at(2), step: seconds, quantile: 0.5 } as const;
  const { series } = await room.telemetry.query(query);
  const [before, after] = series[0]?.points ?? [];
  expect(before?.value).toBeLessThan(0.3);
  expect(after?.value).toBeGreaterThan(1);
  const byFeature = await room.telemetry.query({ ...query, groupBy: 'feature' });
  expect(byFeature.series.map(({ labels }) => labels.feature)).toEqual(['x', 'y']);
  const byVersion = await room.telemetry.query({ ...query, groupBy: 'version' });
  expect(byVersion.series.map(({ labels }) => labels)).toEqual([{ version: '1' }]);
});

/** A version of a model without any reference answers with one of two classes. */
async function answer(window: number, share: number, count = 200) {
  // What comes from the future is placed at the present.
  room.clock.at = Math.max(room.clock.at, at(window) + 3000);
  const yes = Math.round(count * (share + (random() - 0.5) / 20));
  const classes = { yes, no: count - yes };
  const item = windowOf({ model: 'u', startedAt: at(window) + 2000, classes, succeeded: count, rows: count });
  await room.telemetry.ingest('a', batchOf([item], { first: ++sequence }));
}

test('a version without a reference gets one from its first period in the field, which is shown, and is watched by it', async () => {
  await withRule(SpecSchema.parse({ kind: 'drift', model: 'u', windowSeconds: seconds, minSamples: 100 }));
  for (let window = 0; window < 10; window++) await answer(window, 0.3);
  await lookAfter(9);
  expect(await monitoring.report('u', 1)).toMatchObject({
    reference: null,
    collecting: { windows: 10, neededWindows: 24, samples: 2000, neededSamples: 2400 },
    rules: [{ verdict: 'insufficient', summary: expect.stringMatching(/being collected .*: 10 of 24 windows/) }],
  });
  for (let window = 10; window < 24; window++) await answer(window, 0.3);
  await lookAfter(23);
  const { reference, collecting, rules } = await monitoring.report('u', 1);
  expect(reference).toMatchObject({ source: 'field', rows: 4800, from: at(0), to: at(24), by: 'system' });
  expect(collecting).toBeNull();
  expect(rules[0]?.signals).toMatchObject([{ name: 'output:classes', status: 'calm' }]);
  // Frozen: what comes later is judged by it and does not become part of it.
  const seen: string[] = [];
  for (const [i, share] of [0.3, 0.7, 0.7].entries()) {
    await answer(24 + i, share);
    await lookAfter(24 + i, monitoringOver({}));
    seen.push((await statuses())[0] ?? 'none');
  }
  expect(seen).toEqual(['none', 'pending', 'firing']);
  expect((await monitoring.report('u', 1)).reference).toEqual(reference);
});

test('a drift that is accepted becomes the reference, with who and why, and ends the alert', async () => {
  await withRule();
  for (const window of [0, 1, 2]) {
    await send({ window, shift: 1.5 });
    await lookAfter(window);
  }
  const [alert] = await alerts();
  expect(alert).toMatchObject({ status: 'firing' });
  const accepted = await monitoring.accept('key:ann', alert?.id ?? '', 'the new season');
  expect(accepted).toMatchObject({
    status: 'resolved',
    resolution: { kind: 'accepted', summary: 'accepted as the new normal by key:ann: the new season' },
  });
  expect((await monitoring.report('m', 1)).reference).toMatchObject({
    ...{ source: 'accepted', rows: 1200, by: 'key:ann', why: 'the new season', from: at(0) },
  });
  for (const window of [3, 4]) {
    await send({ window, shift: 1.5 });
    await lookAfter(window);
  }
  expect(await statuses()).toEqual(['resolved']);
  for (const window of [5, 6]) {
    await send({ window });
    await lookAfter(window);
  }
  // What was normal before is a drift now.
  expect((await statuses()).sort()).toEqual(['firing', 'resolved']);
  const audit = await room.database.read.select().from(room.database.tables.audit);
  expect(audit.find(({ action }) => action === 'alert.accept')).toMatchObject({ actor: 'key:ann' });
  await expect(monitoring.accept('key:ann', alert?.id ?? '', 'again')).rejects.toThrow(/has ended already/);
  await expect(monitoring.accept('key:ann', 'none', 'again')).rejects.toThrow(/there is no alert/);
});

test('since when nothing can be judged, and which signals, is told', async () => {
  await withRule();
  await send({ window: 0 });
  await lookAfter(0);
  const first = (await monitoring.report('m', 1)).rules[0];
  expect(first).toMatchObject({ verdict: 'calm', insufficientSince: null });
  expect(first?.signals.map(({ name, status }) => [name, status])).toEqual([
    ['x', 'calm'],
    ['y', 'calm'],
  ]);
  expect(first?.signals[0]?.visible).toBeGreaterThan(0.25);
  await send({ window: 1, count: 50 });
  await lookAfter(1);
  const second = (await monitoring.report('m', 1)).rules[0];
  expect(second).toMatchObject({ verdict: 'insufficient', insufficientSince: at(1) });
  expect(second?.signals.map(({ status }) => status)).toEqual(['insufficient', 'insufficient']);
  await send({ window: 2 });
  await lookAfter(2);
  expect((await monitoring.report('m', 1)).rules[0]?.insufficientSince).toBeNull();
  await lookAfter(9);
  expect((await monitoring.report('m', 1)).rules[0]?.insufficientSince).toBe(at(3));
});

test('an alert says how a signal changed, and shows its bins before and after', async () => {
  await withRule();
  for (const window of [0, 1]) await send({ window, shift: 1.5 });
  await lookAfter(1);
  const [feature] = (await alerts())[0]?.features ?? [];
  expect(feature).toMatchObject({
    name: 'x',
    change: 'higher',
    histogram: { edges: profile.edges, before: profile.counts },
  });
  expect(feature?.histogram?.after.reduce((sum, count) => sum + count, 0)).toBe(400);
});

test('errors of regressions come from labels that are numbers', async () => {
  const labels = [1, 2, 3].map((by, i) =>
    labelOf({ model: 'r', inferenceId: `r${i}`, predictedAt: at(0), predicted: '10', label: String(10 + by) }),
  );
  await room.telemetry.ingest('a', batchOf([{ kind: 'labels', labels }], { first: ++sequence }));
  room.clock.at = at(1);
  expect((await monitoring.report('r', 1)).performance.errors).toEqual({ count: 3, absolute: 6, squared: 14 });
});
