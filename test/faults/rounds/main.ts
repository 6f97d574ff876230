// Random faults in the middle of what a fleet does, round after round: prints what held, and the seed to do it again.

import { writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mounting } from '../../support/small-disk.ts';
import { type FaultsArguments, parseArguments, usage } from './arguments.ts';
import { needsDisks, planRound } from './plan.ts';
import { linesOf, tableOf } from './report.ts';
import type { RoundResult } from './round.ts';
import { doRounds } from './session.ts';

const results = fileURLToPath(new URL('../../../test-results/faults/', import.meta.url));

async function run({ seed, rounds, only, agents }: FaultsArguments, signal: AbortSignal): Promise<boolean> {
  const numbers = only ?? Array.from({ length: rounds }, (_, i) => i + 1);
  const planned = numbers.map((number) => planRound(seed, number));
  const folder = join(results, `seed-${seed}`);
  await mkdir(folder, { recursive: true });
  const disks = mounting();
  console.log(`seed ${seed}, ${planned.length} rounds, ${agents} agents; reports and logs: ${folder}`);
  const skipped = disks.path !== undefined ? [] : planned.filter(({ fault }) => needsDisks(fault));
  if (skipped.length > 0) console.log(`${skipped.length} rounds with full disks are left out${disks.reason}`);
  const sofar: RoundResult[] = [];
  const done = await doRounds(planned, {
    ...{ agents, disks: disks.path !== undefined, logs: folder, signal },
    onResult: (result) => {
      for (const line of linesOf(result)) console.log(line);
      if (result.violations.length > 0)
        console.log(`  again: pnpm faults --seed ${seed} --agents ${agents} --only ${result.number}`);
      // After each round: what was seen stays when a later one ends everything.
      sofar.push(result);
      const report = { seed, agents, disks: disks.path !== undefined, rounds: sofar };
      writeFileSync(join(folder, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
    },
  });
  console.log(['', ...tableOf(done)].join('\n'));
  return done.every(({ violations }) => violations.length === 0);
}

const asked = parseArguments(process.argv.slice(2), Math.floor(Math.random() * 1_000_000));
if (asked === undefined) {
  console.error(usage);
  process.exitCode = 64;
} else {
  const stopping = new AbortController();
  // The present round is finished, and everything that was started is ended.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => stopping.abort());
  const holds = await run(asked, stopping.signal);
  if (stopping.signal.aborted) process.exitCode = 130;
  else if (!holds) process.exitCode = 1;
}
