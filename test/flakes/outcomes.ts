// What several runs of the same tests say together: which tests failed in some of them, and how.
import { relative } from 'node:path';
import { z } from 'zod';

/** The part of vitest's JSON report that is looked at. */
export const Report = z.object({
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.enum(['passed', 'failed']),
      /** What went wrong outside of the tests: an import, a syntax error. */
      message: z.string(),
      assertionResults: z.array(
        z.object({
          ancestorTitles: z.array(z.string()),
          title: z.string(),
          status: z.string(),
          failureMessages: z.array(z.string()).nullable(),
        }),
      ),
    }),
  ),
});
export type Report = z.infer<typeof Report>;
type FileReport = Report['testResults'][number];

interface Failure {
  /** File and titles; the same in every run. */
  test: string;
  /** First line of the error. */
  error: string;
}

export interface Outcome {
  passed: number;
  skipped: number;
  failures: Failure[];
}

/** A test that failed in at least one run; runs count from 1. */
export interface Suspect {
  test: string;
  runs: number[];
  /** As it was in the first of them. */
  error: string;
}

/** One run. Files that failed apart from their tests count as one failure each. Paths are told from `root`. */
export function outcomeOf({ testResults }: Report, root: string): Outcome {
  const tests = testResults.flatMap((file) => file.assertionResults);
  const passed = tests.filter(({ status }) => status === 'passed').length;
  const failed = tests.filter(({ status }) => status === 'failed').length;
  const failures = testResults.flatMap((file) => failuresOf(file, relative(root, file.name)));
  return { passed, skipped: tests.length - passed - failed, failures };
}

function failuresOf({ status, message, assertionResults }: FileReport, path: string): Failure[] {
  const failures = assertionResults
    .filter((test) => test.status === 'failed')
    .map(({ ancestorTitles, title, failureMessages }) => ({
      test: [`${path}:`, [...ancestorTitles, title].filter((name) => name !== '').join(' > ')].join(' '),
      error: firstLine(failureMessages?.[0] ?? ''),
    }));
  if (status === 'passed' || (failures.length > 0 && message === '')) return failures;
  return [...failures, { test: path, error: firstLine(message) || 'a hook failed' }];
}

function firstLine(text: string): string {
  return (
    text
      .split('\n')
      .find((line) => line.trim() !== '')
      ?.trim() ?? ''
  );
}

/** All tests that failed in some run, the most frequent first. */
export function suspectsOf(outcomes: readonly Outcome[]): Suspect[] {
  const suspects = new Map<string, Suspect>();
  for (const [i, { failures }] of outcomes.entries()) {
    for (const { test, error } of failures) {
      const known = suspects.get(test) ?? { test, runs: [], error };
      // Two tests of one name are told as one.
      if (known.runs.at(-1) !== i + 1) known.runs.push(i + 1);
      suspects.set(test, known);
    }
  }
  return [...suspects.values()].sort((a, b) => b.runs.length - a.runs.length || (a.test < b.test ? -1 : 1));
}

/** The verdict in lines of text. */
export function verdict(outcomes: readonly Outcome[]): string[] {
  const clean = outcomes.filter(({ failures }) => failures.length === 0).length;
  const rows = suspectsOf(outcomes).flatMap(({ test, runs, error }) => {
    const kind = runs.length === outcomes.length ? 'fails' : 'flaps';
    return [`${kind}: ${runs.length} of ${outcomes.length} (run ${runs.join(', ')}): ${test}`, `  ${error}`];
  });
  return [...rows, `${clean} of ${outcomes.length} runs passed`];
}
