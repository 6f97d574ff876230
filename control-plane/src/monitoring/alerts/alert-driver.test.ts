import { AlertRuleSpec } from '@edgeloop/shared/api/alert-rules';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openTelemetry } from '../../telemetry/telemetry-fixture.ts';
import { driveAlert } from './alert-driver.ts';
import { alertOf } from './alert-fixture.ts';
import { type AlertFigures, createAlertStore } from './alert-store.ts';

const spec = AlertRuleSpec.parse({ kind: 'drift', model: 'm' });
if (spec.kind === 'metric') throw new Error('it judges no windows');
const rule = { id: 'r', createdAt: 0, spec };
const judged = { history: [{ at: 0, value: 2, bound: null }] };
const evidence = { state: 'fresh', since: 1, numbersAt: 3_600_000, detail: '' } as const;
const figures: AlertFigures = {
  ...{ summary: 'x moved', features: [{ name: 'x', psi: 2, threshold: 1 }], value: 2 },
  scope: { kind: 'device', devices: ['a'], detail: 'one of three' },
};

let room: ReturnType<typeof openTelemetry>;
beforeEach(async () => {
  room = openTelemetry();
  const alertStore = createAlertStore(room.database);
  await room.database.transact((tx) => alertStore.insertAlert(tx, alertOf('1', { ...figures, ...judged, evidence })));
});
afterEach(() => room.close());

/** The alert as it is after a suspicious window with these figures; undefined when nothing changed. */
function driveBy(detail: AlertFigures) {
  const recent = [{ windowStart: 0, verdict: 'suspicious', detail } as const];
  const newest = { windowStart: 0, verdict: 'suspicious', summary: '' } as const;
  const situation = { rule, version: 1, recent, newest, replacedBy: undefined, broughtBy: [], now: room.clock.at };
  return room.database.transact((tx) => driveAlert(tx, createAlertStore(room.database), situation));
}

test('the same figures are no news, whatever the order that the database gives their keys in', async () => {
  expect(await driveBy(figures)).toBeUndefined();
  const { summary, features, value } = figures;
  const reordered: AlertFigures = {
    ...{ value, features: features.map(({ name, psi, threshold }) => ({ psi, name, threshold })), summary },
    scope: { detail: 'one of three', devices: ['a'], kind: 'device' },
  };
  expect(await driveBy(reordered)).toBeUndefined();
});

test('an open alert tells of the newest suspicious window', async () => {
  expect(await driveBy({ ...figures, summary: 'y moved', value: 3 })).toMatchObject({ id: '1', summary: 'y moved' });
  expect(await createAlertStore(room.database).openAlerts()).toMatchObject([{ summary: 'y moved', value: 3 }]);
});

test('whoever was told of a sensor fault is told again once it is wider, and only then', async () => {
  const stuck = { device: 'a', signal: 'x', kind: 'stuck', detail: 'it stands' } as const;
  const fault: AlertFigures = { ...figures, scope: { ...figures.scope, faults: [stuck] } };
  const alertStore = createAlertStore(room.database);
  await room.database.transact(async (tx) => {
    const alert = await alertStore.alert(tx, '1');
    if (alert !== undefined) await alertStore.updateAlert(tx, { ...alert, ...fault, handedOver: true });
  });
  expect(await driveBy({ ...fault, value: 4 })).toMatchObject({ handedOver: true });
  const fleet = { kind: 'fleet', devices: [], detail: 'all' } as const;
  expect(await driveBy({ ...figures, scope: { ...fleet, devices: [] } })).toMatchObject({ handedOver: false });
});
