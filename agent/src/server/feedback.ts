// `POST /feedback/{id}`: the truth for an earlier prediction. The supervisor knows the predictions, so it decides.
import { parseJson } from '@edgeloop/shared/errors';
import type { Context } from 'hono';
import { z } from 'zod';
import type { ToServing, ToSupervisor } from '../process/ipc.ts';
import { readBody } from './body.ts';
import { createQuestions } from './questions.ts';

const FeedbackRequest = z.object({
  label: z
    .union([z.string().min(1).max(200), z.number(), z.boolean()], 'must be a text, a number or a truth value')
    .transform(String),
});

export interface FeedbackChannel {
  /** Resolves when the supervisor has taken the label; throws what it says, or `unavailable` when it says nothing. */
  report(inferenceId: string, label: string): Promise<void>;
  /** The supervisor's answer. */
  settle(result: Extract<ToServing, { kind: 'feedback_result' }>): void;
}

/** Answers 202 once the label is taken. */
export async function handleFeedback(c: Context, channel: FeedbackChannel): Promise<Response> {
  const id = c.req.param('id') ?? '';
  const { label } = parseJson(FeedbackRequest, await readBody(c.req), 'request');
  await channel.report(id, label);
  return c.json({ id, label }, 202);
}

/** Asks through `send` and matches the answers. */
export function createFeedbackChannel(send: (message: ToSupervisor) => void, timeoutMs = 5000): FeedbackChannel {
  const questions = createQuestions<void>({
    ...{ timeoutMs, most: 1000 },
    noAnswer: 'the agent is not taking labels now; try again',
  });
  return {
    report: (inferenceId, label) =>
      questions.ask((requestId) => send({ kind: 'feedback', requestId, inferenceId, label })),
    settle: ({ requestId, error }) => questions.settle(requestId, error ? { error } : { answer: undefined }),
  };
}
