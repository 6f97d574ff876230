import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { sumOf } from '../gates/counts.ts';
import { batchOf, labelOf, openTelemetry, windowOf } from './telemetry-fixture.ts';

let room: ReturnType<typeof openTelemetry>;
let sequence: number;
beforeEach(() => {
  room = openTelemetry();
  sequence = 1;
});
afterEach(() => room.close());

const started = 1_000_000;
const query = {
  ...{ rolloutId: 'r', model: 'm', version: 2, wave: 0, matching: new Set(['a', 'b', 'c']), restRuns: true },
  ...{ members: [{ deviceId: 'a', wave: 0, since: started }], quantile: 0.9, patienceMs: 60_000 },
};

async function answered(deviceId: string, parts: Parameters<typeof windowOf>[0]) {
  await room.telemetry.ingest(deviceId, batchOf([windowOf(parts)], { first: sequence++ }));
}
async function labelled(deviceId: string, labels: Partial<Parameters<typeof labelOf>[0]>[]) {
  const item = {
    kind: 'labels' as const,
    labels: labels.map((label) => labelOf({ ...label, inferenceId: `i${sequence++}` })),
  };
  await room.telemetry.ingest(deviceId, batchOf([item], { first: sequence++ }));
}
const at = (seconds: number) => started + seconds * 1000;

test('tells the new version on the wave from the old one on the rest and before, whether stored already or coming in', async () => {
  const times = [12, 12, 12, 12];
  await answered('a', { startedAt: at(-100), version: 1, succeeded: 4, latencies: times, classes: { x: 3, y: 1 } });
  await answered('b', { startedAt: at(-90), version: 1, succeeded: 30, latencies: Array(30).fill(50) });
  await answered('elsewhere', { startedAt: at(-90), version: 1, succeeded: 99 });
  await answered('a', { startedAt: at(10), version: 2, succeeded: 8, failed: { internal: 2 }, classes: { x: 8 } });
  const first = await room.telemetry.fieldEvidence(query);
  expect(sumOf(first?.wave.fresh.requests ?? [])).toEqual({ hits: 2, trials: 10 });
  expect(sumOf(first?.wave.rest.requests ?? [])).toEqual({ hits: 0, trials: 0 });
  expect(sumOf(first?.lastPeriod.requests ?? [])).toEqual({ hits: 0, trials: 34 });
  expect(first?.lastPeriod.classes).toContainEqual({ x: 3, y: 1 });

  expect(await room.telemetry.fieldEvidence(query)).toBe(first);
  await answered('b', { startedAt: at(20), version: 1, succeeded: 5, latencies: [40, 40, 45, 60, 70] });
  await answered('a', { startedAt: at(20), version: 2, succeeded: 7 });
  await answered('b', { startedAt: at(-20), version: 1, succeeded: 77 });
  await answered('elsewhere', { startedAt: at(20), version: 1, succeeded: 99 });
  await answered('c', { startedAt: at(20), version: 2, succeeded: 55 });
  const second = await room.telemetry.fieldEvidence(query);
  expect(sumOf(second?.wave.fresh.requests ?? [])).toEqual({ hits: 2, trials: 17 });
  expect(sumOf(second?.wave.rest.requests ?? [])).toEqual({ hits: 0, trials: 5 });
  // Device "b" takes 50 ms by itself.
  expect(sumOf(second?.wave.rest.slow ?? [])).toEqual({ hits: 2, trials: 5 });
});

test('says the same after a restart, and counts each window once', async () => {
  for (let i = 0; i < 5; i++) {
    await answered('a', { startedAt: at(i), version: 2, succeeded: 3 });
    await answered('b', { startedAt: at(i), version: 1, succeeded: 2 });
  }
  const asking = room.telemetry.fieldEvidence(query);
  const coming = Promise.all([
    answered('a', { startedAt: at(50), version: 2, succeeded: 100 }),
    answered('b', { startedAt: at(50), version: 1, succeeded: 100 }),
  ]);
  await Promise.all([asking, coming]);
  const kept = await room.telemetry.fieldEvidence(query);
  const anew = await room.telemetry.fieldEvidence({ ...query, rolloutId: 'as after a restart' });
  for (const evidence of [kept, anew]) {
    expect(sumOf(evidence?.wave.fresh.requests ?? []).trials).toBe(115);
    expect(sumOf(evidence?.wave.rest.requests ?? []).trials).toBe(110);
  }
});

test('counts a wave from its beginning, and all devices from the first', async () => {
  await answered('a', { startedAt: at(10), version: 2, succeeded: 10 });
  await answered('b', { startedAt: at(10), version: 1, succeeded: 20 });
  await answered('c', { startedAt: at(10), version: 1, succeeded: 40 });
  await room.telemetry.fieldEvidence(query);
  const second = {
    ...query,
    wave: 1,
    members: [...query.members, { deviceId: 'b', wave: 1, since: at(100) }],
  };
  await room.telemetry.fieldEvidence(second);
  room.clock.at = at(120);
  await answered('b', { startedAt: at(110), version: 2, succeeded: 3 });
  await answered('c', { startedAt: at(110), version: 1, succeeded: 5 });
  const { wave, all } = (await room.telemetry.fieldEvidence(second)) ?? {};
  expect(sumOf(wave?.fresh.requests ?? []).trials).toBe(3);
  expect(sumOf(wave?.rest.requests ?? []).trials).toBe(5);
  expect(sumOf(all?.fresh.requests ?? []).trials).toBe(13);
  expect(sumOf(all?.rest.requests ?? []).trials).toBe(65);
});

test('credits labels to the version and the time of their prediction, however late they come', async () => {
  const right = { predicted: 'x', label: 'x' };
  const wrong = { predicted: 'x', label: 'y' };
  await labelled('b', [
    { ...right, version: 1, predictedAt: at(-3600), labelledAt: at(-3590) },
    { ...wrong, version: 1, predictedAt: at(-1800), labelledAt: at(-10) },
  ]);
  await room.telemetry.fieldEvidence(query);
  await labelled('a', [
    { ...right, version: 2, predictedAt: at(5) },
    { ...wrong, version: 2, predictedAt: at(6) },
  ]);
  await labelled('b', [{ ...right, version: 1, predictedAt: at(7) }]);
  // Labels are read anew no sooner than a multiple of the time that it took.
  const evidence = await vi.waitUntil(async () => {
    const present = await room.telemetry.fieldEvidence(query);
    return sumOf(present?.wave.fresh.labels ?? []).trials > 0 ? present : undefined;
  });
  expect(sumOf(evidence?.wave.fresh.labels ?? [])).toEqual({ hits: 1, trials: 2 });
  expect(sumOf(evidence?.wave.rest.labels ?? [])).toEqual({ hits: 1, trials: 1 });
  expect(sumOf(evidence?.lastPeriod.labels ?? [])).toEqual({ hits: 2, trials: 3 });
  // One label an hour came in time; a third of the devices waits a minute.
  expect(evidence?.labelsExpected).toBeCloseTo(1 / 60 / 3, 5);
});

test('takes in labels that came another way than from devices', async () => {
  await labelled('a', [{ version: 2, predictedAt: at(5), predicted: 'x', label: 'x' }]);
  await room.telemetry.fieldEvidence(query);
  const news = room.telemetry.storedOf('m');
  const { labels } = room.database.tables;
  await room.database.transact(async (tx) => void (await tx.update(labels).set({ label: 'y' })));
  room.telemetry.labelled(new Set(['m']));
  expect(room.telemetry.storedOf('m')).toBeGreaterThan(news);
  const evidence = await vi.waitUntil(async () => {
    const present = await room.telemetry.fieldEvidence(query);
    return sumOf(present?.wave.fresh.labels ?? []).hits === 0 ? present : undefined;
  });
  expect(sumOf(evidence?.wave.fresh.labels ?? []).trials).toBe(1);
});

test('leaves out what a device ran before its last version', async () => {
  await answered('b', { startedAt: at(-300), version: 7, succeeded: 50 });
  await answered('b', { startedAt: at(-200), version: 1, succeeded: 5 });
  const evidence = await room.telemetry.fieldEvidence(query);
  expect(sumOf(evidence?.lastPeriod.requests ?? []).trials).toBe(5);
});

test('tells what devices answered with each variant, and the labels of those that have it', async () => {
  const members = [
    { deviceId: 'a', wave: 0, since: started, variant: 'int8' },
    { deviceId: 'b', wave: 0, since: started, variant: 'default' },
    { deviceId: 'c', wave: 0, since: started },
  ];
  const asked = { ...query, rolloutId: 'with variants', members, variants: 3 };
  await answered('a', { startedAt: at(10), version: 2, variant: 'int8', succeeded: 8, failed: { internal: 2 } });
  await answered('b', { startedAt: at(10), version: 2, variant: 'default', succeeded: 5 });
  await answered('c', { startedAt: at(10), version: 2, succeeded: 3 });
  await labelled('a', [{ version: 2, predictedAt: at(10), label: 'wrong' }]);
  await labelled('b', [{ version: 2, predictedAt: at(10) }]);
  const evidence = await room.telemetry.fieldEvidence(asked);
  expect(evidence?.variants?.of).toBe(3);
  const said = evidence?.variants?.each.map(({ name, wave }) => [
    name,
    sumOf(wave?.fresh.requests ?? []),
    wave?.fresh.labels,
  ]);
  expect(said).toEqual([
    // A window of before names none: the plain file answered.
    ['default', { hits: 0, trials: 8 }, [{ hits: 1, trials: 1 }]],
    ['int8', { hits: 2, trials: 10 }, [{ hits: 0, trials: 1 }]],
  ]);
  expect(sumOf(evidence?.wave.fresh.requests ?? [])).toEqual({ hits: 2, trials: 18 });

  const told = members.map((member) => (member.deviceId === 'c' ? { ...member, variant: 'fp16' } : member));
  const later = await room.telemetry.fieldEvidence({ ...asked, members: told, wave: 1 });
  expect(later?.variants?.each.map(({ name, wave }) => [name, wave])).toEqual([
    ['default', undefined],
    ['fp16', undefined],
    ['int8', undefined],
  ]);
  expect((await room.telemetry.fieldEvidence(query))?.variants).toBeUndefined();
});
