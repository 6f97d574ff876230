// Where every request comes in. Inference and prediction are answered here, on Node's HTTP server itself: hono's Request
// and Response cost more than a small model's run. All others go on to the app.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { type Caller, createCaller, type HangUp } from '../inference/queueing/hang-up.ts';
import { type AppDeps, createApp } from './app.ts';
import { maxBodyBytes, readIncoming } from './body.ts';
import { type BodyMemory, createBodyMemory } from './body-memory.ts';
import type { Asked, CallDeps } from './call.ts';
import { callHeaders } from './call-headers.ts';
import { createDoor } from './cross-origin.ts';
import { errorReply, type Reply } from './errors.ts';
import { infer } from './infer/infer.ts';
import { predict } from './predict/predict.ts';
import { traceparentOf } from './trace-context.ts';
import { createTurns, type Turns } from './turns.ts';

/** Room for two bodies of the largest kind, each held twice for a moment, in pieces and whole. */
const bodyMemory = { totalBytes: 2 * maxBodyBytes, keptBytes: 8 * 1024 * 1024 };
const largeRequests = { smallBytes: 64 * 1024, atOnceBytes: 8 * 1024 * 1024, turnMs: 10_000, waitMs: 30_000 };
/** What a body counts for that does not say its length. */
const unknownBytes = 1024 * 1024;

interface FrontRoute {
  /** Groups: the model and perhaps the version, percent-encoded. */
  pattern: RegExp;
  reply(deps: CallDeps, asked: Asked): Promise<Reply>;
}

const routes: readonly FrontRoute[] = [
  { pattern: /^\/v2\/models\/([^/?]+)(?:\/versions\/([^/?]+))?\/infer(?:\?|$)/, reply: infer },
  { pattern: /^\/predict\/([^/?]+)(?:\/versions\/([^/?]+))?(?:\?|$)/, reply: predict },
];

/** What all requests share. */
interface Front {
  deps: AppDeps;
  memory: BodyMemory;
  turns: Turns;
}

/** A listener for Node's server that answers everything. */
export function createFront(deps: AppDeps): RequestListener {
  const app = createApp(deps);
  // Health checks of load balancers speak HTTP/1.0, which names no host.
  const options = { hostname: 'localhost', autoCleanupIncoming: false };
  const others = getRequestListener((request) => app.fetch(request), options);
  const front: Front = { deps, memory: createBodyMemory(bodyMemory), turns: createTurns(largeRequests) };
  const asksModel = (path: string): boolean => calledBy(path) !== undefined;
  const lets = createDoor({ check: deps.checkVisitor, asksModel, onUnexpected: deps.onUnexpected });
  return (request, response) => {
    const path = pathOf(request.url ?? '');
    const called = request.method === 'POST' ? calledBy(path) : undefined;
    if (!lets(request, response, path)) return undefined;
    return called ? answer(front, called, request, response) : others(request, response);
  };
}

interface Called {
  route: FrontRoute;
  model: string;
  version: string | undefined;
  url: string;
}

function calledBy(url: string): Called | undefined {
  for (const route of routes) {
    const match = route.pattern.exec(url);
    const model = match?.[1];
    if (model === undefined) continue;
    const version = match?.[2];
    return { route, model: decodedName(model), version: version && decodedName(version), url };
  }
  return undefined;
}

/** Path and query. Callers may send the whole URL (RFC 9112, section 3.2.2), though only proxies are sent it. */
function pathOf(target: string): string {
  return target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/?]*/i, '');
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

async function answer(
  { deps, memory, turns }: Front,
  { route, model, version, url }: Called,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const headers = callHeaders(request.headers);
  const traceparent = traceparentOf(headers.traceparent);
  const caller = callerAt(request.socket);
  const hold = memory.hold();
  const arrivedMs = deps.log ? deps.nowMs() : 0;
  let reply: Reply;
  try {
    deps.checkToken(headers.authorization, url);
    const turn = turns.take(Number(headers.contentLength ?? unknownBytes));
    // It lasts until the answer is on its way, which takes memory too.
    if (turn) endWith(response, await turn);
    // The version is chosen when the body is whole, so that a slow upload does not keep an old version alive.
    const body = await readIncoming(request, headers, hold);
    reply = await route.reply(deps, { model, version, url, headers, body, startedMs: deps.nowMs(), caller, hold });
  } catch (error) {
    // Nobody is there to be told, and whatever ended it ended because of that.
    if (caller.gone) return;
    reply = errorReply(error, deps.onUnexpected);
  } finally {
    hold.giveBack();
  }
  const { status } = reply;
  deps.log?.({ method: 'POST', path: url, status, ms: deps.nowMs() - arrivedMs, traceparent });
  if (traceparent !== undefined) response.setHeader('traceparent', traceparent);
  response.writeHead(status, reply.headers);
  response.end(reply.body);
}

function endWith(response: ServerResponse, end: () => void): void {
  if (response.destroyed) end();
  else response.once('close', end);
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
