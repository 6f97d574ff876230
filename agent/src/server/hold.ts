// `/hold`: software on this device says "not now" to another version of a model. The supervisor keeps it, since that outlives
// the serving process.
import { parseJson } from '@edgeloop/shared/errors';
import type { Context } from 'hono';
import { HoldRequest, type HoldWish, type PresentHold, type ToServing, type ToSupervisor } from '../process/ipc.ts';
import { readBody } from './body.ts';
import { createQuestions } from './questions.ts';

export interface HoldChannel {
  /** What holds afterwards. Throws what the supervisor says, or `unavailable` when it says nothing. */
  ask(wish: HoldWish): Promise<PresentHold | undefined>;
  /** The supervisor's answer. */
  settle(result: Extract<ToServing, { kind: 'hold_result' }>): void;
}

/** Asks through `send` and matches the answers. */
export function createHoldChannel(send: (message: ToSupervisor) => void, timeoutMs = 5000): HoldChannel {
  const questions = createQuestions<PresentHold | undefined>({
    ...{ timeoutMs, most: 100 },
    noAnswer: 'the agent does not answer for holds now; try again',
  });
  return {
    ask: (wish) => questions.ask((requestId) => send({ kind: 'hold', requestId, wish })),
    settle: ({ requestId, hold, error }) => questions.settle(requestId, error ? { error } : { answer: hold }),
  };
}

/** Answers `{"held": false}`, or whose word holds, until when, and why. */
export async function handleHold(c: Context, channel: HoldChannel): Promise<Response> {
  const hold = await channel.ask(await wishOf(c));
  if (hold === undefined) return c.json({ held: false });
  const { reason, untilMs } = hold;
  return c.json({ held: true, by: untilMs === undefined ? 'file' : 'caller', until: untilMs ?? null, reason });
}

async function wishOf(c: Context): Promise<HoldWish> {
  if (c.req.method === 'GET') return { action: 'tell' };
  if (c.req.method === 'DELETE') return { action: 'clear' };
  return { action: 'set', request: parseJson(HoldRequest, await readBody(c.req), 'request') };
}
