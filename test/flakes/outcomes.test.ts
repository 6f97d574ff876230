import { describe, expect, it } from 'vitest';
import { outcomeOf, Report, suspectsOf, verdict } from './outcomes.ts';

interface Told {
  status?: 'passed' | 'failed';
  message?: string;
  tests?: [title: string, status: string, error?: string][];
}

/** A run as vitest reports it; `/r/a.test.ts` holds the tests in a group `g`. */
function run({ status = 'passed', message = '', tests = [] }: Told) {
  const assertionResults = tests.map(([title, of, error]) => ({
    ancestorTitles: ['', 'g'],
    title,
    fullName: ` g ${title}`,
    status: of,
    failureMessages: error === undefined ? [] : [error],
    meta: {},
  }));
  const testResults = [{ name: '/r/a.test.ts', status, message, startTime: 1, endTime: 2, assertionResults }];
  return outcomeOf(Report.parse(JSON.parse(JSON.stringify({ success: status === 'passed', testResults }))), '/r');
}

describe('an outcome', () => {
  it('counts what passed and was skipped, and keeps the first line of each failure', () => {
    const tests: Told['tests'] = [
      ['one', 'passed'],
      ['two', 'failed', '\nError: broken\n    at somewhere'],
      ['three', 'skipped'],
      ['four', 'todo'],
    ];
    expect(run({ status: 'failed', tests })).toEqual({
      passed: 1,
      skipped: 2,
      failures: [{ test: 'a.test.ts: g > two', error: 'Error: broken' }],
    });
  });

  it('has a failure for a file that failed apart from its tests', () => {
    const broken = run({ status: 'failed', message: 'no such module\nat b.ts' });
    expect(broken.failures).toEqual([{ test: 'a.test.ts', error: 'no such module' }]);
    const hook = run({ status: 'failed', tests: [['one', 'skipped']] });
    expect(hook.failures).toEqual([{ test: 'a.test.ts', error: 'a hook failed' }]);
    const both = run({ status: 'failed', message: 'teardown', tests: [['one', 'failed', 'Error: first']] });
    expect(both.failures.map(({ test }) => test)).toEqual(['a.test.ts: g > one', 'a.test.ts']);
  });
});

describe('runs together', () => {
  const clean = run({ tests: [['one', 'passed']] });
  const failing = (...names: string[]) =>
    run({ status: 'failed', tests: names.map((name) => [name, 'failed', `Error: ${name}`]) });

  it('name each test that failed, the most frequent first, with its runs and its first error', () => {
    expect(suspectsOf([failing('b', 'c'), clean, failing('a', 'c')])).toEqual([
      { test: 'a.test.ts: g > c', runs: [1, 3], error: 'Error: c' },
      { test: 'a.test.ts: g > a', runs: [3], error: 'Error: a' },
      { test: 'a.test.ts: g > b', runs: [1], error: 'Error: b' },
    ]);
    expect(suspectsOf([failing('same', 'same')])[0]?.runs).toEqual([1]);
  });

  it('tell what flaps from what always fails, and how many passed', () => {
    expect(verdict([failing('a', 'b'), failing('a')])).toEqual([
      'fails: 2 of 2 (run 1, 2): a.test.ts: g > a',
      '  Error: a',
      'flaps: 1 of 2 (run 1): a.test.ts: g > b',
      '  Error: b',
      '0 of 2 runs passed',
    ]);
    expect(verdict([clean, clean])).toEqual(['2 of 2 runs passed']);
  });
});
