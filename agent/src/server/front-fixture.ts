// The HTTP of the serving process on a port of its own, with real models in it: the front and the listener that ship.
// Used by tests only.
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ManifestInput } from '@edgeloop/shared/manifest';
import { createEngine, type Engine } from '../inference/engine.ts';
import { type ForwardedCall, type ForwardedReply, ModelFiles } from '../process/ipc.ts';
import type { JournalRecord } from '../telemetry/record.ts';
import { createTokenCheck } from './access.ts';
import type { AppDeps } from './app.ts';
import { createDeviceFigures } from './device-figures.ts';
import { createFeedbackChannel } from './feedback.ts';
import { answerForwarded } from './forwarded.ts';
import { createFront } from './front.ts';
import { createForwardedAnswers } from './grpc/forwarded.ts';
import { createGrpcListener } from './grpc/listener.ts';
import { createListener, type Listener } from './handed-sockets.ts';
import { createHoldChannel } from './hold.ts';
import { createKnownModels } from './known-models.ts';
import { createLimits } from './limits.ts';
import { createMetrics } from './metrics.ts';
import { createObserver, type Observer } from './observation.ts';
import { createRepositoryChannel } from './repository.ts';
import { createSequences } from './sequences.ts';
import { createShadows } from './shadows.ts';
import { createVisitorCheck } from './visitors.ts';

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
  json(): unknown;
}

export interface ServedFront {
  port: number;
  engine: Engine;
  observer: Observer;
  /** What was journalled, oldest first. */
  records: JournalRecord[];
  load(name: string, bytes: Uint8Array, manifest?: ManifestInput): Promise<void>;
  get(path: string, headers?: Record<string, string>): Promise<Answer>;
  /** Sends texts and bytes as they are, all else as JSON. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Answer>;
  send(method: string, path: string, headers?: Record<string, string>): Promise<Answer>;
  /** Serves gRPC too, from now on; on which port. `through` hands callers over in its own way. */
  grpc(through?: (accept: Listener['accept'], socket: Socket) => void): Promise<number>;
  drainGrpc(): Promise<void>;
  /** Answers what another process forwards. */
  forwarded(call: ForwardedCall): Promise<ForwardedReply>;
  close(): Promise<void>;
}

/** The two ways in which requests for models are read. */
export const ways = [
  ['by our own reader', true],
  ["by Node's server", false],
] as const;

/** A server without models, with what `changes` says in the place of the usual. `plain`: with our own reader. */
export async function serveFront(changes: Partial<AppDeps> = {}, plain = true): Promise<ServedFront> {
  const folder = mkdtempSync(join(tmpdir(), 'front-'));
  const engine = createEngine({ threads: 1, onCrash: (_, error) => unexpected(error) });
  const records: JournalRecord[] = [];
  const observer = createObserver({
    append: (record) => records.push(record),
    now: Date.now,
    nowMs: () => performance.now(),
  });
  const deps = { ...usual(engine, observer, records), ...changes };
  const limits = createLimits();
  const listener = createListener(createFront(deps, limits), { plain });
  const { server, port } = await listenFor(listener);
  let grpc: { listener: Listener; server: Server } | undefined;
  return {
    port,
    engine,
    observer,
    records,
    async load(name, bytes, manifest = {}) {
      const path = join(folder, `${name}.onnx`);
      writeFileSync(path, bytes);
      await engine.load(ModelFiles.parse({ name, version: 1, path, manifest }));
      engine.activate(name, 1);
    },
    get: (path, headers = {}) => exchange(port, { method: 'GET', path, headers }, ''),
    post: (path, body, headers = {}) => exchange(port, { method: 'POST', path, headers }, bytesOf(body)),
    send: (method, path, headers = {}) => exchange(port, { method, path, headers }, ''),
    async grpc(through) {
      const own = createGrpcListener(deps, limits);
      const listening = await listenFor(through ? { accept: (socket) => through(own.accept, socket) } : own);
      grpc = { listener: own, server: listening.server };
      return listening.port;
    },
    drainGrpc: async () => grpc?.listener.drain(),
    forwarded: (call) => answerForwarded(deps, limits, call, createForwardedAnswers(deps, limits)),
    async close() {
      server.close();
      grpc?.server.close();
      await Promise.all([listener.drain(), grpc?.listener.drain()]);
      deps.sequences.close();
      await engine.close();
      rmSync(folder, { recursive: true });
    },
  };
}

async function listenFor({ accept }: Pick<Listener, 'accept'>): Promise<{ server: Server; port: number }> {
  const server = createServer({ pauseOnConnect: true }, (socket) => accept(socket));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  return { server, port: typeof address === 'object' ? (address?.port ?? 0) : 0 };
}

function usual(engine: Engine, observer: Observer, records: JournalRecord[]): AppDeps {
  const journal = () => ({ failedWrites: 0, lostRecords: 0, pendingRecords: 0 });
  const figures = createDeviceFigures({ engine, observer, journal, neighbours: undefined });
  return {
    engine,
    observer,
    arrivals: createKnownModels(engine).arrivals,
    sequences: createSequences({ engine, nowMs: () => performance.now() }),
    shadows: createShadows({
      append: (record) => records.push(record),
      now: Date.now,
      nowMs: () => performance.now(),
    }),
    nowMs: () => performance.now(),
    neighbours: undefined,
    figures,
    metrics: createMetrics({
      problems: () => [],
      lost: () => [{ kind: 'window', reason: 'age', count: 3 }],
      figures,
      engine,
      place: undefined,
    }),
    feedback: createFeedbackChannel(() => undefined, 10),
    hold: createHoldChannel(() => undefined, 10),
    repository: createRepositoryChannel(() => undefined, 10),
    overridesDir: undefined,
    notLoaded: () => [],
    misplaced: () => [],
    isReady: () => true,
    agentVersion: '1.2.3',
    serverName: 'edgeloop-agent',
    checkToken: createTokenCheck({ tokens: [], nowMs: () => 0 }),
    checkVisitor: createVisitorCheck({ allowOrigins: [], hosts: [] }),
    logLevel: 'info',
    log: undefined,
    onUnexpected: unexpected,
  };
}

/** Ends the test run: nothing here may happen whatever callers do. */
function unexpected(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}

function bytesOf(body: unknown): Uint8Array | string {
  return body instanceof Uint8Array || typeof body === 'string' ? body : JSON.stringify(body);
}

/** Not `fetch`: it adds headers, inflates what it gets, and refuses some paths. */
async function exchange(
  port: number,
  { method, path, headers }: { method: string; path: string; headers: Record<string, string> },
  body: Uint8Array | string,
): Promise<Answer> {
  const request = httpRequest({ host: '127.0.0.1', port, path, method, headers });
  request.end(body);
  const [response] = await once(request, 'response');
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  const whole = Buffer.concat(chunks);
  return {
    status: response.statusCode,
    headers: response.headers,
    body: whole,
    json: () => JSON.parse(whole.toString()),
  };
}
