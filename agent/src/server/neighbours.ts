// The other serving processes of this device, as one of them sees them: asked through the supervising process.
import { AppError } from '@edgeloop/shared/errors';
import type { Figures } from '../process/figures.ts';
import type { ForwardedCall, ForwardedReply, ToServing, ToSupervisor } from '../process/ipc.ts';

type Result = Extract<ToServing, { kind: 'figures_result' | 'tokens_result' | 'forward_result' }>;
type Question = Extract<ToSupervisor, { kind: 'figures_wanted' | 'tokens_wanted' | 'forward' }>;
type WithoutId<M> = M extends unknown ? Omit<M, 'requestId'> : never;

export interface Neighbours {
  /** How many serving processes there are. */
  count: number;
  /** What all others count, and counted before they died. */
  figures(own: Figures): Promise<readonly Figures[]>;
  /** Takes one request of the token's rate. 0 when it may be sent, else the seconds until one may. */
  takeToken(name: string): Promise<number>;
  /** The process at which the sequences of a model live; undefined when that is this one. */
  homeOf(model: string): number | undefined;
  /** What that process answers. Throws what it throws, and `unavailable` when it is not there. */
  forward(to: number, call: ForwardedCall): Promise<ForwardedReply>;
  /** The supervisor's answer. */
  settle(result: Result): void;
}

/** Requests that wait at another process; more means that it hangs. */
const maxForwarded = 1000;
/** A larger one would keep the supervising process from its work. */
const forwardedAtMostBytes = 8 * 1024 * 1024;

export function createNeighbours(
  { process, count }: { process: number; count: number },
  send: (message: ToSupervisor) => void,
): Neighbours {
  const asked = new Map<number, (result: Result) => void>();
  let lastRequestId = 0;

  const ask = (question: WithoutId<Question>): Promise<Result> => {
    lastRequestId += 1;
    const requestId = lastRequestId;
    return new Promise((resolve) => {
      asked.set(requestId, resolve);
      send({ ...question, requestId });
    });
  };
  const tokens = createTokenQueues(async (token, waiting) => {
    const result = await ask({ kind: 'tokens_wanted', token, count: waiting });
    return result.kind === 'tokens_result' ? result : { granted: 0, retryAfterSeconds: 1 };
  });

  return {
    count,
    async figures(own) {
      const result = await ask({ kind: 'figures_wanted', own });
      return result.kind === 'figures_result' ? result.others : [];
    },
    takeToken: tokens,
    homeOf(model) {
      const home = placeOf(model, count);
      return home === process ? undefined : home;
    },
    async forward(to, call) {
      if (asked.size >= maxForwarded)
        throw new AppError('unavailable', 'too many requests of sequences wait; try again');
      if (call.body.length > (forwardedAtMostBytes * 4) / 3) {
        const why = `a request of a sequence may have ${forwardedAtMostBytes} bytes where there are several serving processes`;
        throw new AppError('payload_too_large', why);
      }
      const result = await ask({ kind: 'forward', to, call });
      if (result.kind === 'forward_result' && result.reply !== undefined) return result.reply;
      const {
        code = 'internal',
        message = 'no answer',
        retryAfterSeconds,
      } = result.kind === 'forward_result' ? (result.error ?? {}) : {};
      throw new AppError(code, message, { retryAfterSeconds });
    },
    settle(result) {
      const resolve = asked.get(result.requestId);
      asked.delete(result.requestId);
      resolve?.(result);
    },
  };
}

/** Every process finds the same. */
function placeOf(name: string, count: number): number {
  let hash = 0;
  for (let i = 0; i < name.length; i++) hash = (Math.imul(hash, 31) + name.charCodeAt(i)) >>> 0;
  return hash % count;
}

/** Requests of one token that come while an answer is awaited are asked for together behind it. */
function createTokenQueues(
  ask: (token: string, count: number) => Promise<{ granted: number; retryAfterSeconds: number }>,
): (token: string) => Promise<number> {
  const queues = new Map<string, ((retryAfterSeconds: number) => void)[]>();
  const serve = async (token: string, waiting: ((retryAfterSeconds: number) => void)[]): Promise<void> => {
    while (waiting.length > 0) {
      const asking = waiting.splice(0);
      const { granted, retryAfterSeconds } = await ask(token, asking.length);
      for (const [place, resolve] of asking.entries()) resolve(place < granted ? 0 : retryAfterSeconds);
    }
    queues.delete(token);
  };
  return (token) =>
    new Promise((resolve) => {
      const waiting = queues.get(token);
      if (waiting) return void waiting.push(resolve);
      const first = [resolve];
      queues.set(token, first);
      void serve(token, first);
    });
}
