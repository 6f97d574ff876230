// gRPC over sockets that somebody else accepted, as HTTP is served in `handed-sockets.ts`. It is loaded only where it is
// switched on.
import type { Socket } from 'node:net';
import { AppError } from '@edgeloop/shared/errors';
import {
  Metadata,
  Server,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptor,
  ServerListenerBuilder,
  type ServerUnaryCall,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { createCaller } from '../../inference/queueing/hang-up.ts';
import type { Right } from '../../process/ipc.ts';
import type { AppDeps } from '../app.ts';
import { maxBodyBytes } from '../body.ts';
import type { Listener } from '../handed-sockets.ts';
import type { Limits } from '../limits.ts';
import { traceparentOf } from '../trace-context.ts';
import { inference, open, unaryCalls } from './calls.ts';
import { type GrpcStatus, statusOf } from './failures.ts';
import { answerMessage, encodeAnswer } from './forwarded.ts';
import { decodeMessage, encodeMessage } from './schema.ts';
import { type InferStream, type StreamCall, serveStream, stoppingStatus } from './stream.ts';

/** Of one connection; clients queue what is more. */
const concurrentStreams = 256;
const idleConnectionMs = 300_000;
const keepalive = { 'grpc.keepalive_time_ms': 60_000, 'grpc.keepalive_timeout_ms': 20_000 };
/** From the head of a call to the end of its message. */
const messageWithinMs = 60_000;

const paths = { infer: `/${inference}/ModelInfer`, stream: `/${inference}/ModelStreamInfer` };
const rightsByPath = new Map<string, Right | undefined>([
  [paths.infer, 'infer'],
  ...unaryCalls.map(({ path, right }): [string, Right | undefined] => [path, right]),
]);

type Unary = ServerUnaryCall<Buffer, object>;

export function createGrpcListener(deps: AppDeps, limits: Limits): Listener {
  const server = new Server({
    ...keepalive,
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': maxBodyBytes,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': concurrentStreams,
    'grpc.max_connection_idle_ms': idleConnectionMs,
    interceptors: [guard(deps)],
  });
  const streams = new Set<InferStream>();
  let stopping = false;
  const toStatus = (error: unknown): GrpcStatus => statusOf(error, deps.onUnexpected);

  const answered = (call: Unary, answer: Promise<object>, callback: sendUnaryData<object>): void => {
    const startedMs = deps.nowMs();
    const traceparent = traceparentIn(call.metadata);
    const log = (code: number): void =>
      deps.log?.({ method: 'gRPC', path: call.getPath(), status: code, ms: deps.nowMs() - startedMs, traceparent });
    answer.then(
      (value) => {
        if (traceparent !== undefined) call.sendMetadata(metadataOf({ traceparent }));
        callback(null, value);
        log(0);
      },
      (error: unknown) => {
        const status = toStatus(error);
        callback(status);
        log(status.code);
      },
    );
  };

  const infer = (call: Unary, callback: sendUnaryData<object>): void => {
    const caller = createCaller();
    let endTurn: (() => void) | undefined;
    // Told when the answer is on its way as well.
    call.once('cancelled', () => {
      caller.hangUp();
      endTurn?.();
    });
    const onTurn = (end: () => void): void => {
      endTurn = end;
      if (caller.gone) end();
    };
    const timeoutMs = leftMs(call.getDeadline());
    answered(
      call,
      answerMessage(deps, limits, call.request, { path: paths.infer, caller, timeoutMs, onTurn, stream: false }),
      callback,
    );
  };

  const streamInfer = (call: StreamCall): void => {
    const [authorization] = call.metadata.get('authorization');
    const answer = async (bytes: Buffer, caller: ReturnType<typeof createCaller>): Promise<object> => {
      let endTurn: (() => void) | undefined;
      try {
        const checked = deps.checkToken(textOf(authorization), paths.stream, 'infer');
        if (checked) await checked;
        const onTurn = (end: () => void): void => {
          endTurn = end;
        };
        const timeoutMs = leftMs(call.getDeadline());
        const message = { path: paths.stream, caller, timeoutMs, onTurn, stream: true };
        return await answerMessage(deps, limits, bytes, message);
      } catch (error) {
        return { error_message: toStatus(error).details, infer_response: { id: idOf(bytes) } };
      } finally {
        endTurn?.();
      }
    };
    const stream = serveStream(call, answer, () => ({ ...stoppingStatus, metadata: new Metadata() }));
    streams.add(stream);
    call.once('cancelled', () => streams.delete(stream));
    if (stopping) stream.close();
  };

  const implementation: UntypedServiceImplementation = { [paths.infer]: infer, [paths.stream]: streamInfer };
  for (const { path, request, answer } of unaryCalls) {
    implementation[path] = (call: Unary, callback: sendUnaryData<object>) => {
      const work = async (): Promise<object> => answer(deps, decodeMessage(request, call.request));
      answered(call, work(), callback);
    };
  }
  server.addService(definitionsOf(), implementation);
  const { injectConnection } = server.createConnectionInjector(ServerCredentials.createInsecure());

  return {
    accept(socket: Socket, head) {
      if (stopping) return void socket.destroy();
      socket.on('error', () => socket.destroy());
      if (head !== undefined) socket.unshift(Buffer.from(head, 'base64'));
      injectConnection(socket);
      // HTTP/2 takes what is read without asking for it. Not `resume`: what was read before would be lost.
      socket.read(0);
    },
    async drain() {
      stopping = true;
      for (const stream of [...streams]) stream.close();
      await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      server.forceShutdown();
    },
  };
}

function definitionsOf() {
  const same = (bytes: Buffer): Buffer => bytes;
  const method = (path: string, stream: boolean, responseSerialize: (value: object) => Buffer) => ({
    path,
    requestStream: stream,
    responseStream: stream,
    // What is no message is told with the words of HTTP, so it is read later.
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize,
    responseDeserialize: same,
  });
  return Object.fromEntries([
    [paths.infer, method(paths.infer, false, (value) => encodeAnswer(value, false))],
    [paths.stream, method(paths.stream, true, (value) => encodeAnswer(value, true))],
    ...unaryCalls.map(({ path, response }) => [path, method(path, false, (value) => encodeMessage(response, value))]),
  ]);
}

/** Token and rights, before anything is read of a message; and a message has to come within its time. */
function guard({ checkToken, onUnexpected }: AppDeps): ServerInterceptor {
  return (method, call) => {
    let timer: NodeJS.Timeout | undefined;
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        const letIn = (): void => {
          if (!method.requestStream) {
            const late = new AppError('timeout', `the message did not come within ${messageWithinMs / 1000} s`);
            timer = setTimeout(() => call.sendStatus(statusOf(late, onUnexpected)), messageWithinMs);
          }
          next(metadata);
        };
        const refuse = (error: unknown): void => call.sendStatus(statusOf(error, onUnexpected));
        try {
          // On a stream every message is checked instead; whoever may not send any is told at once.
          const [authorization] = metadata.get('authorization');
          const right = rightsByPath.get(method.path);
          const checked = open.has(method.path) ? undefined : checkToken(textOf(authorization), method.path, right);
          if (checked === undefined) letIn();
          else checked.then(letIn, refuse);
        } catch (error) {
          refuse(error);
        }
      })
      .withOnReceiveHalfClose((next) => {
        clearTimeout(timer);
        next();
      })
      .withOnCancel(() => clearTimeout(timer))
      .build();
    return new ServerInterceptingCall(call, { start: (next) => next(listener) });
  };
}

function textOf(value: string | Buffer | undefined): string | undefined {
  return value === undefined ? undefined : String(value);
}

function metadataOf(values: Record<string, string>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(values)) metadata.set(name, value);
  return metadata;
}

function traceparentIn(metadata: Metadata): string | undefined {
  return traceparentOf(textOf(metadata.get('traceparent')[0]));
}

/** Undefined when there is no deadline. */
function leftMs(deadline: Date | number): number | undefined {
  const left = Number(deadline) - Date.now();
  return Number.isFinite(left) ? left : undefined;
}

/** By which a client matches the answer to its request; what is no message has none. */
function idOf(bytes: Buffer): string {
  try {
    const message = decodeMessage('ModelInferRequest', bytes);
    return typeof message === 'object' && message !== null && 'id' in message ? String(message.id) : '';
  } catch (error) {
    if (error instanceof AppError) return '';
    throw error;
  }
}
