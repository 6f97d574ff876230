import { expect, test } from 'vitest';
import { falseAlarmsPerMonthOf, falseShareOf } from './budget.ts';

const former = { falseDiscoveryRate: 0.01 };

test('false alarms a month become a share of windows, and the share of former rules false alarms a month', () => {
  expect(falseShareOf({ ...former, windowSeconds: 3600, falseAlarmsPerMonth: 1 })).toBeCloseTo(2 / 720);
  expect(falseShareOf({ ...former, windowSeconds: 60, falseAlarmsPerMonth: 1 })).toBeCloseTo(2 / 43_200);
  expect(falseShareOf({ ...former, windowSeconds: 7 * 86_400, falseAlarmsPerMonth: 4 })).toBe(0.05);
  expect(falseShareOf({ ...former, windowSeconds: 3600 })).toBe(0.01);
  expect(falseAlarmsPerMonthOf({ ...former, windowSeconds: 3600 })).toBeCloseTo(3.6);
});
