// What callers of the serving process ask for and only the supervising process can do: it is done here, and answered.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { Logger } from 'pino';
import type { HoldWish, LoadOverride, PresentHold, ToServing, ToSupervisor } from './ipc.ts';

export type Wish = Extract<ToSupervisor, { kind: 'feedback' | 'repository' | 'hold' }>;

export interface WishHandlers {
  /** @throws AppError that the caller is told */
  onFeedback(inferenceId: string, label: string): Promise<void>;
  /** A caller of the port asks for a model to be loaded or unloaded. @throws AppError that the caller is told */
  onRepository(action: 'load' | 'unload', name: string, override?: LoadOverride): Promise<void>;
  /** Software on this device holds back other versions, or lets go; what holds then. @throws AppError that the caller is told */
  onHold(wish: HoldWish): Promise<PresentHold | undefined>;
}

/** Does what is asked for; the answer says whether it was done. */
export async function answerTo(wish: Wish, handlers: WishHandlers, log: Logger): Promise<ToServing> {
  const { requestId } = wish;
  if (wish.kind === 'feedback') {
    const { error } = await outcomeOf(handlers.onFeedback(wish.inferenceId, wish.label), log);
    return { kind: 'feedback_result', requestId, error };
  }
  if (wish.kind === 'hold') {
    const done = await outcomeOf(handlers.onHold(wish.wish), log);
    return { kind: 'hold_result', requestId, hold: done.result, error: done.error };
  }
  const { error } = await outcomeOf(handlers.onRepository(wish.action, wish.name, wish.override), log);
  return { kind: 'repository_result', requestId, error };
}

/** What came of it, or what the caller is told of a failure. */
async function outcomeOf<T>(work: Promise<T>, log: Logger) {
  try {
    return { result: await work };
  } catch (error) {
    if (!(error instanceof AppError)) log.error({ err: error }, 'a wish of a caller failed');
    const { code, errors } = error instanceof AppError ? error : { code: 'internal' as const, errors: [] };
    return { error: { code, message: messageOf(error), errors } };
  }
}
