// One run of the tests in a process of its own. Its report and output are kept, so that a failure can be looked at.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Outcome, outcomeOf, Report } from './outcomes.ts';

export interface SuiteRun {
  /** The workspace. */
  root: string;
  /** Where `NAME.json` and `NAME.log` go; it exists. */
  folder: string;
  name: string;
  /** Arguments for vitest. */
  args: readonly string[];
}

/** Runs the tests once; a run that leaves no report or ends badly without a failed test is a failure too. */
export async function runSuite({ root, folder, name, args }: SuiteRun, signal: AbortSignal): Promise<Outcome> {
  const report = join(folder, `${name}.json`);
  const log = createWriteStream(join(folder, `${name}.log`));
  await rm(report, { force: true });
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const child = spawn(
    process.execPath,
    [vitest, 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...args],
    { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const stop = () => child.kill('SIGTERM');
  signal.addEventListener('abort', stop);
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  const [code, killedBy] = await once(child, 'close');
  signal.removeEventListener('abort', stop);
  log.end();
  const outcome = outcomeOf(await readReport(report), root);
  if (code !== 0 && outcome.failures.length === 0)
    outcome.failures.push({ test: 'the run itself', error: `vitest ended with ${killedBy ?? code}: see ${log.path}` });
  return outcome;
}

/** An empty report where there is none. */
async function readReport(path: string): Promise<Report> {
  try {
    return Report.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return { testResults: [] };
  }
}
