// Requests of the supervisor to the serving process and the replies that they wait for.
import { AppError } from '@edgeloop/shared/errors';
import type { ModelFiles, ToServing, ToSupervisor } from './ipc.ts';

type Call = Extract<
  ToServing,
  { kind: 'load' | 'activate' | 'unload' | 'rerun_golden' | 'attach' | 'detach' | 'journal' }
>;
type CallBody = Call extends infer Each ? (Each extends Call ? Omit<Each, 'requestId'> : never) : never;
type Reply = Extract<ToSupervisor, { kind: 'reply' }>;

/** What calls fail with while the process is not there; the same call may succeed after `up`. */
export class ServingGone extends AppError {
  constructor(detail: string) {
    super('unavailable', `the serving process is not there: ${detail}`);
  }
}

export interface ServingCalls {
  call(body: CallBody): Promise<void>;
  settle(reply: Reply): void;
  /** The models whose loading is not answered yet. */
  loading(): ModelFiles[];
  /** The process is gone: everything asked of it fails. */
  rejectAll(detail: string): void;
}

export interface ServingCallsOptions {
  timeoutMs: number;
  send(message: ToServing): void;
  onTimeout(body: CallBody): void;
}

export function createServingCalls({ timeoutMs, send, onTimeout }: ServingCallsOptions): ServingCalls {
  interface Pending {
    body: CallBody;
    resolve(): void;
    reject(error: Error): void;
    timer: NodeJS.Timeout;
  }
  const calls = new Map<number, Pending>();
  let lastRequestId = 0;

  function take(requestId: number): Pending | undefined {
    const pending = calls.get(requestId);
    calls.delete(requestId);
    clearTimeout(pending?.timer);
    return pending;
  }

  return {
    call(body) {
      lastRequestId += 1;
      const requestId = lastRequestId;
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => onTimeout(body), timeoutMs);
        calls.set(requestId, { body, resolve, reject, timer });
        send({ ...body, requestId });
      });
    },
    settle({ requestId, error }) {
      const pending = take(requestId);
      if (error === undefined) pending?.resolve();
      else pending?.reject(new AppError(error.code, error.message));
    },
    loading: () => [...calls.values()].flatMap(({ body }) => (body.kind === 'load' ? [body.model] : [])),
    rejectAll(detail) {
      for (const requestId of [...calls.keys()]) take(requestId)?.reject(new ServingGone(detail));
    },
  };
}
