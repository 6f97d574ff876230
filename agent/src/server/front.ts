// Where every request comes in. Inference and prediction are answered apart, on Node's HTTP server itself or on our own
// reader: hono's Request and Response cost more than a small model's run. All others go on to the app.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { type Caller, createCaller, type HangUp } from '../inference/queueing/hang-up.ts';
import { type AppDeps, createApp } from './app.ts';
import { readIncoming } from './body.ts';
import { callHeaders } from './call-headers.ts';
import { createDoor } from './cross-origin.ts';
import { errorReply, type Reply } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { createLimits } from './limits.ts';
import { type AnswerCall, calledBy, createModelCalls } from './model-calls.ts';
import type { Visit } from './visitors.ts';

export interface Front {
  /** Answers everything, on Node's server. */
  listener: RequestListener;
  /** Answers inferences and predictions that came another way, of visitors who are not refused. */
  answer: AnswerCall;
  /** What a visitor is told who may not ask models, and is no page of another origin. */
  refusal(visit: Visit, path: string): Reply | undefined;
}

export function createFront(deps: AppDeps, limits = createLimits()): Front {
  const app = createApp(deps);
  // Health checks of load balancers speak HTTP/1.0, which names no host.
  const options = { hostname: 'localhost', autoCleanupIncoming: false };
  const others = getRequestListener((request) => app.fetch(request), options);
  const answer = createModelCalls(deps, limits);
  const asksModel = (path: string): boolean => calledBy(path) !== undefined;
  const lets = createDoor({ check: deps.checkVisitor, asksModel, onUnexpected: deps.onUnexpected });
  return {
    listener(request, response) {
      const path = pathOf(request.url ?? '');
      const called = request.method === 'POST' ? calledBy(path) : undefined;
      if (!lets(request, response, path)) return undefined;
      return called ? answer(called, exchangeOf(request, response)) : others(request, response);
    },
    answer,
    refusal(visit, path) {
      try {
        deps.checkVisitor(visit, path);
        return undefined;
      } catch (error) {
        return errorReply(error, deps.onUnexpected);
      }
    },
  };
}

/** Path and query. Callers may send the whole URL (RFC 9112, section 3.2.2), though only proxies are sent it. */
function pathOf(target: string): string {
  return target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/?]*/i, '');
}

function exchangeOf(request: IncomingMessage, response: ServerResponse): Exchange {
  const headers = callHeaders(request.headers);
  return {
    headers,
    caller: callerAt(request.socket),
    body: (hold) => readIncoming(request, headers, hold),
    whenSent(end) {
      if (response.destroyed) end();
      else response.once('close', end);
    },
    send({ status, headers: given, body }, traceparent) {
      if (traceparent !== undefined) response.setHeader('traceparent', traceparent);
      response.writeHead(status, given);
      response.end(body);
    },
  };
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
