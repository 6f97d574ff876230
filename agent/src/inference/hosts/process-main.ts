// The process of one model: one worker thread as in the serving process, fed by messages. Its first argument is the
// resident set in bytes at which it ends itself.
import { endWithParent } from '@edgeloop/shared/node/end-with-parent';
import type { Ending } from '../worker/job.ts';
import { failureOf } from '../worker/messages.ts';
import type { FromModelProcess, SentEnding, SentJob, ToModelProcess } from './process-messages.ts';
import { startWorkerThread } from './worker-thread.ts';

const maxRssBytes = Number(process.argv[2]);
const lookEveryMs = 200;
const megabyte = 1024 * 1024;

const thread = startWorkerThread({
  runningNote: undefined,
  onEnded: () => hand(),
  onUnbatchable: (id) => send({ kind: 'unbatchable', id }),
  onSteps: (id, runs) => send({ kind: 'steps', id, runs }),
  onDied: (error) => die(error.message),
});
void thread.started.then((taskId) => send({ kind: 'started', taskId }));
/** What found no room in the thread's ring. */
const waiting: SentJob[] = [];

function send(message: FromModelProcess): void {
  if (process.connected) process.send?.(message);
}

/** Not `exit`: to end a thread that is busy aborts the process, and says less. */
function die(reason: string): void {
  if (!process.connected) process.kill(process.pid, 'SIGKILL');
  process.send?.({ kind: 'dying', reason } satisfies FromModelProcess, () => process.kill(process.pid, 'SIGKILL'));
}

function hand(): void {
  for (let job = waiting[0]; job !== undefined; job = waiting[0]) {
    const { sequence, leftMs, ...rest } = job;
    const deadline = leftMs === undefined ? undefined : performance.now() + leftMs;
    const settle = (ending: Ending): void => send({ kind: 'ended', sequence, ending: sent(ending) });
    if (thread.submit({ ...rest, deadline, settle }) === undefined) break;
    waiting.shift();
  }
  thread.wake();
}

function sent(ending: Ending): SentEnding {
  if (ending.kind === 'failed') return { kind: 'failed', failure: failureOf(ending.error) };
  return ending;
}

process.on('message', (message: ToModelProcess) => {
  switch (message.kind) {
    case 'open': {
      const { id } = message.model;
      thread.open(message.model).then(
        (model) => send({ kind: 'opened', id, model }),
        (error: unknown) => send({ kind: 'refused', id, failure: failureOf(error) }),
      );
      return;
    }
    case 'close':
      void thread.close(message.id).then(() => send({ kind: 'closed', id: message.id }));
      return;
    case 'jobs':
      waiting.push(...message.jobs);
      return hand();
    case 'take-back':
      for (const { sequence } of waiting.splice(0)) send({ kind: 'ended', sequence, ending: { kind: 'lost' } });
      return thread.takeBack();
    case 'stop':
      void thread.end().then(() => process.exit(0));
  }
});
endWithParent();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
setInterval(() => {
  const rss = process.memoryUsage.rss();
  if (rss <= maxRssBytes) return;
  const figures = `${Math.round(rss / megabyte)} MB, allowed are ${Math.round(maxRssBytes / megabyte)} MB`;
  die(`it used ${figures} (EDGELOOP_MEMORY_MB)`);
}, lookEveryMs).unref();
