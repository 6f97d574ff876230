import { Socket } from 'node:net';
import { AppError } from '@edgeloop/shared/errors';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { ModelDeath, Suspect } from './death.ts';
import type { ToServing, ToSupervisor } from './ipc.ts';
import { modelFiles } from './serving-fixture.ts';
import { ServingHere } from './serving-here.ts';
import type { ServingHandlers } from './serving-process.ts';

/** What serves, as far as its messages go: it loads nothing of version 2, and does not stop before it is `drained`. */
function setUp(changes: Partial<ServingHandlers> = {}) {
  const heard: { message: ToServing; socket: unknown }[] = [];
  const lines: { msg: string; model?: string }[] = [];
  let say = (_said: ToSupervisor): void => undefined;
  let drained = (): void => undefined;
  const stopped = new Promise<void>((resolve) => {
    drained = resolve;
  });
  const died: [Suspect, ModelDeath][] = [];
  const serving = new ServingHere({
    log: pino({ base: null }, { write: (text: string) => void lines.push(JSON.parse(text)) }),
    create: (send) => {
      say = send;
      return {
        begin: () => send({ kind: 'started' }),
        async handle(message, socket) {
          heard.push({ message, socket });
          if (message.kind === 'stop') return stopped;
          if (message.kind !== 'load') return;
          const { requestId, model } = message;
          const error = { code: 'model_rejected' as const, message: 'cannot be loaded' };
          send(model.version === 2 ? { kind: 'reply', requestId, error } : { kind: 'reply', requestId });
        },
      };
    },
  });
  const start = () =>
    serving.start(() => ({
      restore: async (letIn) => letIn(),
      settled: async () => undefined,
      onModelDied: (suspect, end) => died.push([suspect, end]),
      onDied: async () => undefined,
      onCounts: () => undefined,
      onFeedback: async () => {
        throw new AppError('unsupported', 'nobody takes it');
      },
      onRepository: async () => undefined,
      onHold: async () => undefined,
      ...changes,
    }));
  return { serving, start, heard, lines, died, say: (said: ToSupervisor) => say(said), drained: () => drained() };
}

const kinds = (heard: { message: ToServing }[]) => heard.map(({ message }) => message.kind);
describe('serving in this very process', () => {
  it('lets callers in when it is known what is coming, and is ready when that was loaded', async () => {
    let go = (): void => undefined;
    const known = new Promise<void>((resolve) => {
      go = resolve;
    });
    const { serving, start, heard } = setUp({
      async restore(letIn) {
        await known;
        letIn();
        await serving.load(modelFiles({ name: 'm', version: 1, path: 'm' }));
      },
    });
    start();
    const [early, late] = [new Socket(), new Socket()];
    serving.hand(early);
    expect(kinds(heard)).toEqual([]);
    go();
    await expect.poll(() => kinds(heard)).toEqual(['connection', 'load', 'ready']);
    serving.hand(late, 'grpc');
    expect(heard.map(({ socket }) => socket).filter((socket) => socket !== undefined)).toEqual([early, late]);
    expect(heard.at(-1)?.message).toEqual({ kind: 'connection', protocol: 'grpc' });
  });

  it('says why a model cannot be loaded, and does what callers wish for', async () => {
    const { serving, start, heard, say } = setUp();
    start();
    await serving.load(modelFiles({ name: 'm', version: 1, path: 'm' }));
    const refused = serving.load(modelFiles({ name: 'm', version: 2, path: 'm' }));
    await expect(refused).rejects.toMatchObject({ code: 'model_rejected', message: 'cannot be loaded' });
    say({ kind: 'feedback', requestId: 3, inferenceId: 'i', label: 'x' });
    say({ kind: 'repository', requestId: 4, action: 'unload', name: 'm' });
    await expect
      .poll(() => heard.map(({ message }) => message))
      .toEqual(
        expect.arrayContaining([
          {
            kind: 'feedback_result',
            requestId: 3,
            error: { code: 'unsupported', message: 'nobody takes it', errors: [] },
          },
          { kind: 'repository_result', requestId: 4 },
        ]),
      );
  });

  it('names a model whose own process died, and one that does not return', () => {
    const { start, lines, died, say } = setUp();
    start();
    say({ kind: 'model_died', name: 'm', version: 1, detail: 'SIGFPE', crashed: true });
    expect(died).toMatchObject([
      [
        { name: 'm', version: 1 },
        { crashed: true, detail: 'SIGFPE' },
      ],
    ]);
    say({ kind: 'stuck', name: 'loop', version: 4 });
    expect(lines).toMatchObject([{ model: 'loop', version: 4, msg: expect.stringContaining('does not return') }]);
  });

  it('waits for what is in flight when it stops, and not for ever', async () => {
    const first = setUp();
    first.start();
    const stopping = first.serving.stop(60_000);
    first.drained();
    await stopping;
    expect(first.lines).toEqual([]);
    const second = setUp();
    second.start();
    await second.serving.stop(10);
    expect(second.lines).toMatchObject([{ msg: 'what is in flight did not end in time' }]);
  });
});
