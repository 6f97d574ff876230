import { expect, test } from 'vitest';
import { selectorProblem, underChoice } from './chart-view.ts';

const request = { metric: 'latency', model: 'm', groupBy: 'version' } as const;

test('charts are of the devices that match, told apart by the chosen label', () => {
  expect(underChoice(request, { text: ' site=paris ', group: 'label:line' })).toEqual({
    ...{ metric: 'latency', model: 'm', selector: 'site=paris', groupBy: 'label:line' },
  });
});

test('a page keeps its own grouping, and all devices, while nothing is chosen or half a selector stands there', () => {
  expect(underChoice(request, { text: '', group: undefined })).toEqual({ ...request, selector: undefined });
  expect(selectorProblem('site=a b')).not.toBe('');
  expect(underChoice(request, { text: 'site=a b', group: undefined })).toEqual({ ...request, selector: undefined });
});

test('drift is asked as it is judged, over the fleet', () => {
  const drift = { metric: 'drift', groupBy: 'version' } as const;
  expect(underChoice(drift, { text: 'site=paris', group: 'label:site' })).toBe(drift);
});
