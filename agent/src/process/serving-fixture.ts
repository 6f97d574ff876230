// Plays the supervisor in tests of the serving process: accepts callers, hands them over, asks and waits for replies.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { ModelFiles, type ServingConfig, ToServing, ToSupervisor } from './ipc.ts';
import { servingModulePath } from './serving-life.ts';

type WithoutId<M> = M extends { requestId: number } ? Omit<M, 'requestId'> : never;
type Reply = Extract<ToSupervisor, { kind: 'reply' }>;

export interface ServingHarness {
  child: ChildProcess;
  /** Base URL of the port whose callers are handed over. */
  url: string;
  /** Sends with a fresh request id and waits for the reply. */
  ask(message: WithoutId<ToServing>): Promise<Reply>;
  tell(message: ToServing): void;
  /** Everything the process said that is no reply, in order. */
  said: ToSupervisor[];
  onSaid(listener: (message: ToSupervisor) => void): void;
  end(): Promise<void>;
}

/** Forks the serving process and waits until it is up. */
export async function startServing(config: Partial<ServingConfig> = {}): Promise<ServingHarness> {
  const child = fork(servingModulePath, [], {
    execArgv: [], // None of the tests' own.
    env: {
      ...process.env,
      EDGELOOP_SERVING_CONFIG: JSON.stringify({ agentVersion: '0.0.1', logLevel: 'warn', ...config }),
    },
  });
  const replies = new Map<number, (reply: Reply) => void>();
  const said: ToSupervisor[] = [];
  const listeners: ((message: ToSupervisor) => void)[] = [];
  child.on('message', (raw) => {
    const message = ToSupervisor.parse(raw);
    if (message.kind === 'reply') return replies.get(message.requestId)?.(message);
    said.push(message);
    for (const listener of listeners) listener(message);
  });
  await once(child, 'message');
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    child.send({ kind: 'connection' }, socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  let nextId = 1;
  return {
    child,
    url: `http://127.0.0.1:${portOf(server.address())}`,
    said,
    onSaid: (listener) => listeners.push(listener),
    tell: (message) => child.send(message),
    ask(message) {
      const requestId = nextId++;
      return new Promise((resolve) => {
        replies.set(requestId, resolve);
        child.send(ToServing.parse({ ...message, requestId }));
      });
    },
    async end() {
      server.close();
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
    },
  };
}

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new Error('not listening on a port');
  return address.port;
}

/** Files of a model version, as the supervisor describes them. */
export function modelFiles(files: { name: string; version: number; path: string; manifest?: unknown }): ModelFiles {
  return ModelFiles.parse({ ...files, manifest: files.manifest ?? {} });
}
