import { expect, it } from 'vitest';
import { createLedger } from './ledger.ts';

const answer = { model: 'sum', version: 1, high: 0.5 };

it('keeps counts over rounds, and gaps and misses of the present one', () => {
  const ledger = createLedger();
  ledger.answered(answer, 100);
  ledger.answered(answer, 400);
  ledger.missed('sum', 'cut', 'reset');
  ledger.missed('sum', 'refused', 'nobody');
  expect(ledger.round('sum')).toMatchObject({ answered: 2, darkMs: 300 });
  ledger.begin(1000);
  ledger.answered({ ...answer, version: 2 }, 1050);
  expect(ledger.round('sum')).toMatchObject({ answered: 1, darkMs: 50, misses: new Map() });
  expect([ledger.count('sum', 1), ledger.count('sum', 2), ledger.versions('sum')]).toEqual([2, 1, [1, 2]]);
  // Who was refused asked nothing; who was cut off may have been counted.
  expect(ledger.uncertain('sum')).toBe(1);
});

it('counts silence up to the rest, and not beyond', () => {
  const ledger = createLedger();
  ledger.answered(answer, 0);
  ledger.rest(70);
  ledger.rest(5000);
  expect(ledger.round('sum').darkMs).toBe(70);
});

it('forgets the last answer, so that the next one is a new one', () => {
  const ledger = createLedger();
  ledger.answered(answer, 0);
  expect(ledger.last('sum')).toEqual(answer);
  ledger.forget();
  expect([ledger.last('sum'), ledger.count('sum', 1)]).toEqual([undefined, 1]);
});
