// The infer route on Node's HTTP server itself: hono's Request and Response cost more than a small model's run. Every
// other request goes on to hono.
import { setMaxListeners } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { AppError } from '@edgeloop/shared/errors';
import type { TokenCheck } from '../access.ts';
import { createBodyBudget, defaultBudgetBytes, readIncoming } from '../body.ts';
import type { CallDeps } from '../call.ts';
import { errorReply, type Reply } from '../errors.ts';
import type { RequestLog } from '../request-log.ts';
import { traceparentOf } from '../trace-context.ts';
import { infer } from './infer.ts';

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
    let taken = 0;
    const onTaken = (bytes: number): void => {
      taken += bytes;
    };
    const read = (): Promise<Buffer> => readIncoming(request, budget, onTaken);
    return answer(deps, { request, response, model, version, read }).finally(() => budget.give(taken));
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
  read(): Promise<Buffer>;
}

async function answer(deps: InferRouteDeps, { request, response, model, version, read }: Exchange): Promise<void> {
  const { headers } = request;
  const gone = hangUpOf(request.socket);
  const header = (name: string): string | undefined => {
    const value = headers[name];
    return typeof value === 'string' ? value : value?.[0];
  };
  const traceparent = traceparentOf(header('traceparent'));
  const arrivedMs = deps.nowMs();
  let reply: Reply;
  try {
    deps.checkToken(headers.authorization, request.url ?? '');
    const body = await read().catch(expected);
    const startedMs = deps.nowMs();
    reply = await infer(deps, { model, version, body, startedMs, signal: gone }, header);
  } catch (error) {
    // Nobody is there to be told, and whatever ended it ended because of that.
    if (gone.aborted) return;
    reply = errorReply(error, deps.onUnexpected);
    // The rest of a body that was not read would be taken for the next request.
    if (!request.complete) response.setHeader('Connection', 'close');
  }
  deps.log({
    method: 'POST',
    path: request.url ?? '',
    status: reply.status,
    ms: deps.nowMs() - arrivedMs,
    traceparent,
  });
  if (traceparent !== undefined) response.setHeader('traceparent', traceparent);
  response.writeHead(reply.status, reply.headers);
  response.end(reply.body);
}

const hangUps = new WeakMap<Socket, AbortSignal>();

/** Aborted when the caller's connection closes; one for all requests of a connection, since each costs something. */
function hangUpOf(socket: Socket): AbortSignal {
  const known = hangUps.get(socket);
  if (known) return known;
  const hangUp = new AbortController();
  setMaxListeners(0, hangUp.signal);
  socket.once('close', () => hangUp.abort());
  hangUps.set(socket, hangUp.signal);
  return hangUp.signal;
}

function expected(error: unknown): AppError {
  if (error instanceof AppError) return error;
  throw error;
}
