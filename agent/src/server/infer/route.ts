// The infer route on Node's HTTP server itself: hono's Request and Response cost more than a small model's run. Every
// other request goes on to hono.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type Caller, createCaller, type HangUp } from '../../inference/hang-up.ts';
import type { TokenCheck } from '../access.ts';
import { type BodyBudget, createBodyBudget, defaultBudgetBytes, holdOf, readIncoming } from '../body.ts';
import type { CallDeps } from '../call.ts';
import { errorReply, type Reply } from '../errors.ts';
import type { RequestLog } from '../request-log.ts';
import { traceparentOf } from '../trace-context.ts';
import { type HeaderOf, infer } from './infer.ts';

export interface InferRouteDeps extends CallDeps {
  checkToken: TokenCheck;
  log: RequestLog;
  onUnexpected(error: unknown): void;
}

type RequestListener = (request: IncomingMessage, response: ServerResponse) => unknown;

const pattern = /^\/v2\/models\/([^/?]+)(?:\/versions\/([^/?]+))?\/infer(?:\?|$)/;

/** Answers inference requests and leaves all others to `next`. */
export function createInferRoute(deps: InferRouteDeps, next: RequestListener): RequestListener {
  const budget = createBodyBudget(defaultBudgetBytes);
  return (request, response) => {
    const match = request.method === 'POST' ? pattern.exec(request.url ?? '') : null;
    const model = decodedName(match?.[1]);
    const version = decodedName(match?.[2]);
    if (!match || model === undefined || (match[2] !== undefined && version === undefined)) {
      return next(request, response);
    }
    return answer(deps, { request, response, model, version, budget });
  };
}

/** Undefined for what is no percent-encoded text; hono answers those. */
function decodedName(text: string | undefined): string | undefined {
  if (text?.includes('%') !== true) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  model: string;
  version: string | undefined;
  budget: BodyBudget;
}

async function answer(deps: InferRouteDeps, exchange: Exchange): Promise<void> {
  const { request, response, model, version, budget } = exchange;
  const header: HeaderOf = (name) => headerOf(request, name);
  const traceparent = traceparentOf(header('traceparent'));
  const caller = callerAt(request.socket);
  const held = holdOf(budget);
  const arrivedMs = deps.nowMs();
  let reply: Reply;
  try {
    deps.checkToken(header('authorization'), request.url ?? '');
    const body = await readIncoming(request, held.take);
    reply = await infer(deps, { model, version, body, startedMs: deps.nowMs(), caller }, header);
  } catch (error) {
    // Nobody is there to be told, and whatever ended it ended because of that.
    if (caller.gone) return;
    reply = errorReply(error, deps.onUnexpected);
    // The rest of a body that was not read would be taken for the next request.
    if (!request.complete) response.setHeader('Connection', 'close');
  } finally {
    held.giveBack();
  }
  const { status } = reply;
  deps.log({ method: 'POST', path: request.url ?? '', status, ms: deps.nowMs() - arrivedMs, traceparent });
  if (traceparent !== undefined) response.setHeader('traceparent', traceparent);
  response.writeHead(status, reply.headers);
  response.end(reply.body);
}

function headerOf({ headers }: IncomingMessage, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' ? value : value?.[0];
}

const callers = new WeakMap<Socket, Caller>();

/** The caller behind a connection, who is gone when it closes. */
function callerAt(socket: Socket): HangUp {
  const known = callers.get(socket);
  if (known) return known;
  const caller = createCaller();
  socket.once('close', caller.hangUp);
  callers.set(socket, caller);
  return caller;
}
