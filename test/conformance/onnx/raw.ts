// Which backend cases raw onnxruntime-node passes on this machine, each tried in a child process that it may kill.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import type { BackendCase } from './cases.ts';
import type { RawResult } from './raw-process.ts';

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const modulePath = fileURLToPath(new URL(`./raw-process.${extension}`, import.meta.url));
const caseTimeoutMs = 60_000;

/** Results in the order of the cases. */
export async function runRaw(cases: readonly BackendCase[]): Promise<RawResult[]> {
  const results: RawResult[] = [];
  let child: ChildProcess | undefined;
  for (const each of cases) {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) child = startChild();
    results.push(await ask(child, each));
  }
  child?.kill('SIGKILL');
  return results;
}

function startChild(): ChildProcess {
  return fork(modulePath, [], {
    execArgv: sourceExecArgv(import.meta.url),
    env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
}

async function ask(child: ChildProcess, each: BackendCase): Promise<RawResult> {
  const timer = setTimeout(() => child.kill('SIGKILL'), caseTimeoutMs);
  const settled = new AbortController();
  const { signal } = settled;
  child.send(each);
  try {
    return await Promise.race([
      once(child, 'message', { signal }).then(([result]): RawResult => result),
      once(child, 'exit', { signal }).then(
        ([code, killedBy]): RawResult => ({ kind: 'fails', reason: `the process ended: ${killedBy ?? code}` }),
      ),
    ]);
  } finally {
    clearTimeout(timer);
    settled.abort();
  }
}
