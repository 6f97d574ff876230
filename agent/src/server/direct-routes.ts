// Inference and prediction on Node's HTTP server itself: hono's Request and Response cost more than a small model's run.
// Every other request goes on to hono.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type Caller, createCaller, type HangUp } from '../inference/queueing/hang-up.ts';
import type { TokenCheck } from './access.ts';
import { bodyMemory, readIncoming } from './body.ts';
import { type BodyMemory, createBodyMemory } from './body-memory.ts';
import type { Asked, CallDeps } from './call.ts';
import { errorReply, type Reply } from './errors.ts';
import { type HeaderOf, infer, jsonLengthHeader } from './infer/infer.ts';
import { predict } from './predict/predict.ts';
import type { RequestLog } from './request-log.ts';
import { traceparentOf } from './trace-context.ts';
import { createTurns, type Turns } from './turns.ts';

export interface DirectRouteDeps extends CallDeps {
  checkToken: TokenCheck;
  log: RequestLog;
  onUnexpected(error: unknown): void;
}

type RequestListener = (request: IncomingMessage, response: ServerResponse) => unknown;

const largeRequests = { smallBytes: 64 * 1024, atOnceBytes: 8 * 1024 * 1024, turnMs: 10_000, waitMs: 30_000 };
/** What a body counts for that does not say its length. */
const unknownBytes = 1024 * 1024;

interface DirectRoute {
  /** Groups: the model and perhaps the version, percent-encoded. */
  pattern: RegExp;
  reply(deps: CallDeps, asked: Asked, request: { header: HeaderOf; url: string }): Promise<Reply>;
}

const routes: readonly DirectRoute[] = [
  {
    pattern: /^\/v2\/models\/([^/?]+)(?:\/versions\/([^/?]+))?\/infer(?:\?|$)/,
    reply: (deps, asked, { header }) => infer(deps, asked, header),
  },
  {
    pattern: /^\/predict\/([^/?]+)(?:\/versions\/([^/?]+))?(?:\?|$)/,
    reply: (deps, asked, { header, url }) => predict(deps, asked, { contentType: header('content-type'), url }),
  },
];

/** Answers these routes and leaves all others to `next`. */
export function createDirectRoutes(deps: DirectRouteDeps, next: RequestListener): RequestListener {
  const limits = { memory: createBodyMemory(bodyMemory), turns: createTurns(largeRequests) };
  return (request, response) => {
    const called = request.method === 'POST' ? routeOf(request.url ?? '') : undefined;
    return called ? answer(deps, limits, called, request, response) : next(request, response);
  };
}

/** What all requests share. */
interface Limits {
  memory: BodyMemory;
  turns: Turns;
}

interface Called {
  route: DirectRoute;
  model: string;
  version: string | undefined;
}

function routeOf(url: string): Called | undefined {
  for (const route of routes) {
    const match = route.pattern.exec(url);
    const model = decodedName(match?.[1]);
    if (!match || model === undefined) continue;
    const version = decodedName(match[2]);
    return match[2] !== undefined && version === undefined ? undefined : { route, model, version };
  }
  return undefined;
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

async function answer(
  deps: DirectRouteDeps,
  { memory, turns }: Limits,
  { route, model, version }: Called,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = request.url ?? '';
  const header: HeaderOf = (name) => headerOf(request, name);
  const traceparent = traceparentOf(header('traceparent'));
  const caller = callerAt(request.socket);
  const hold = memory.hold();
  const arrivedMs = deps.nowMs();
  let reply: Reply;
  try {
    deps.checkToken(header('authorization'), url);
    const turn = turns.take(Number(header('content-length') ?? unknownBytes));
    // It lasts until the answer is on its way, which takes memory too.
    if (turn) endWith(response, await turn);
    const body = await readIncoming(request, hold, Number(header(jsonLengthHeader) ?? 0));
    const asked = { model, version, body, startedMs: deps.nowMs(), caller };
    reply = await route.reply(deps, asked, { header, url });
  } catch (error) {
    // Nobody is there to be told, and whatever ended it ended because of that.
    if (caller.gone) return;
    reply = errorReply(error, deps.onUnexpected);
  } finally {
    hold.giveBack();
  }
  const { status } = reply;
  deps.log({ method: 'POST', path: url, status, ms: deps.nowMs() - arrivedMs, traceparent });
  if (traceparent !== undefined) response.setHeader('traceparent', traceparent);
  response.writeHead(status, reply.headers);
  response.end(reply.body);
}

function endWith(response: ServerResponse, end: () => void): void {
  if (response.destroyed) end();
  else response.once('close', end);
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
