// Inference and prediction: which paths are theirs, and the rules for each request, whichever way it comes.
import type { AppDeps } from './app.ts';
import { type Asked, BelongsElsewhere, type CallDeps } from './call.ts';
import { errorReply, type Reply } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { forwardedCall, replyIn } from './forwarded.ts';
import { infer } from './infer/infer.ts';
import type { Limits } from './limits.ts';
import { predict } from './predict/predict.ts';
import { traceparentOf } from './trace-context.ts';

/** What a body counts for that does not say its length. */
const unknownBytes = 1024 * 1024;

interface ModelRoute {
  /** Groups: the model and perhaps the version, percent-encoded. */
  pattern: RegExp;
  reply(deps: CallDeps, asked: Asked): Promise<Reply>;
}

const routes: readonly ModelRoute[] = [
  { pattern: /^\/v2\/models\/([^/?]+)(?:\/versions\/([^/?]+))?\/infer(?:\?|$)/, reply: infer },
  { pattern: /^\/predict\/([^/?]+)(?:\/versions\/([^/?]+))?(?:\?|$)/, reply: predict },
];

/** What is asked of which model. */
export interface Called {
  route: ModelRoute;
  model: string;
  version: string | undefined;
  /** Path and query. */
  url: string;
}

/** Undefined for paths that are no model's inferences or predictions. */
export function calledBy(url: string): Called | undefined {
  for (const route of routes) {
    const match = route.pattern.exec(url);
    const model = match?.[1];
    if (model === undefined) continue;
    const version = match?.[2];
    return { route, model: decodedName(model), version: version && decodedName(version), url };
  }
  return undefined;
}

/** What is no percent-encoded text stands for itself, and is the name of no model. */
function decodedName(text: string): string {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Answers a request, whatever becomes of it. */
export type AnswerCall = (called: Called, exchange: Exchange) => Promise<void>;

/** Visitors were looked at before. */
export function createModelCalls(deps: AppDeps, { memory, turns }: Limits): AnswerCall {
  return async ({ route, model, version, url }, exchange) => {
    const { headers, caller } = exchange;
    const traceparent = traceparentOf(headers.traceparent);
    const hold = memory.hold();
    const arrivedMs = deps.log ? deps.nowMs() : 0;
    let reply: Reply;
    let asked: Asked | undefined;
    try {
      const checked = deps.checkToken(headers.authorization, url, 'infer');
      if (checked) await checked;
      const turn = turns.take(Number(headers.contentLength ?? unknownBytes));
      // It lasts until the answer is on its way, which takes memory too.
      if (turn) exchange.whenSent(await turn);
      // The version is chosen when the body is whole, so that a slow upload does not keep an old version alive.
      const read = exchange.body(hold);
      const body = read instanceof Promise ? await read : read;
      asked = { model, version, url, headers, body, startedMs: deps.nowMs(), caller, hold, step: undefined };
      reply = await route.reply(deps, asked);
    } catch (error) {
      // Nobody is there to be told, and whatever ended it ended because of that.
      if (caller.gone) return;
      reply = await replyTo(error, deps, asked);
    } finally {
      asked?.step?.leave();
      hold.giveBack();
    }
    deps.log?.({ method: 'POST', path: url, status: reply.status, ms: deps.nowMs() - arrivedMs, traceparent });
    exchange.send(reply, traceparent);
  };
}

/** What is told of a failure, or answered by the process to which the request belongs. */
async function replyTo(
  error: unknown,
  { neighbours, onUnexpected }: AppDeps,
  asked: Asked | undefined,
): Promise<Reply> {
  if (!(error instanceof BelongsElsewhere) || neighbours === undefined || asked === undefined)
    return errorReply(error, onUnexpected);
  try {
    return replyIn(await neighbours.forward(error.home, forwardedCall(asked)));
  } catch (failure) {
    return errorReply(failure, onUnexpected);
  }
}
