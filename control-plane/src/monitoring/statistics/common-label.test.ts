import { expect, test } from 'vitest';
import { commonLabel } from './common-label.ts';

const of = (labels: Record<string, string>) => ({ labels });

test('a label is common when most have it and most of the others have not', () => {
  const showing = [of({ site: 'a', line: '1' }), of({ site: 'a', line: '2' })];
  expect(commonLabel(showing, [of({ site: 'b', line: '1' }), of({})])).toBe('site=a');
  expect(commonLabel(showing, [of({ site: 'a' })])).toBeUndefined();
  expect(commonLabel([], [of({ site: 'a' })])).toBeUndefined();
});

test('of labels that tell equally well the first by name is said', () => {
  expect(commonLabel([of({ site: 'a', line: '1' })], [of({})])).toBe('line=1');
});
