// Runs the tests many times beside busy processes and names those that fail in some runs only.
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { type FlakesArguments, parseArguments, usage } from './arguments.ts';
import { startBusy } from './busy.ts';
import { type Outcome, verdict } from './outcomes.ts';
import { runSuite } from './suite-run.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = fileURLToPath(new URL('../../test-results/flakes/', import.meta.url));

async function findFlakes({ runs, load, vitest }: FlakesArguments, signal: AbortSignal): Promise<Outcome[]> {
  await mkdir(folder, { recursive: true });
  const busy = startBusy(load);
  const outcomes: Outcome[] = [];
  try {
    for (let run = 1; run <= runs && !signal.aborted; run++) {
      const beganMs = performance.now();
      const outcome = await runSuite({ root, folder, name: `run-${run}`, args: vitest }, signal);
      if (signal.aborted) break;
      outcomes.push(outcome);
      const seconds = Math.round((performance.now() - beganMs) / 1000);
      const { passed, failures, skipped } = outcome;
      console.log(
        `run ${run} of ${runs}: ${passed} passed, ${failures.length} failed, ${skipped} skipped in ${seconds} s`,
      );
      for (const { test, error } of failures) console.log(`  ${test}\n    ${error}`);
    }
  } finally {
    await busy.end();
  }
  return outcomes;
}

const asked = parseArguments(process.argv.slice(2));
if (asked === undefined) {
  console.error(usage);
  process.exitCode = 64;
} else {
  const stopping = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => stopping.abort());
  const outcomes = await findFlakes(asked, stopping.signal);
  console.log(['', ...verdict(outcomes), `reports and output: ${folder}`].join('\n'));
  if (stopping.signal.aborted) process.exitCode = 130;
  else if (outcomes.some(({ failures }) => failures.length > 0)) process.exitCode = 1;
}
