// A short part of `pnpm faults` with fixed seeds: a round for each way in which devices and servers are hit.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRandom } from '@edgeloop/control-plane/training/trainers/random';
import { expect, test } from 'vitest';
import { mounting } from '../support/small-disk.ts';
import { type Activity, type Fault, roundOf } from './rounds/plan.ts';
import { linesOf } from './rounds/report.ts';
import { doRounds } from './rounds/session.ts';

const kinds: [Activity, Fault][] = [
  ['release', 'kill prover'],
  ['release', 'kill supervisor'],
  ['feedback', 'kill serving'],
  ['release', 'kill server'],
  ['deadly version', 'freeze server'],
];
const ofDisks: [Activity, Fault][] = [
  ['telemetry', 'full agent disk, kill serving'],
  ['upload', 'full server disk, kill server'],
];
const logs = mkdtempSync(join(tmpdir(), 'faults-logs-'));
const mounts = mounting();
const disks = mounts.path !== undefined;

test(`after each fault a verified version answers and the counts agree${mounts.reason}`, {
  timeout: 600_000,
}, async () => {
  const random = createRandom(8);
  const rounds = [...kinds, ...ofDisks].map(([activity, fault], i) =>
    roundOf({ number: i + 1, activity, fault }, random),
  );
  const results = await doRounds(rounds, {
    ...{ agents: 1, disks, logs, signal: new AbortController().signal },
    onResult: (result) => console.log(linesOf(result).join('\n')),
  });
  // The logs stay where something did not hold.
  expect(results.flatMap((result) => (result.violations.length > 0 ? linesOf(result) : []))).toEqual([]);
  const missed = results.filter(({ hit, fault }) => hit === undefined && fault !== 'none');
  expect(missed.map(({ fault }) => fault)).toEqual([]);
  expect(results).toHaveLength(disks ? rounds.length : kinds.length);
  rmSync(logs, { recursive: true });
});
