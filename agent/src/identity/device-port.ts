// HTTPS to the control plane's device port: several addresses tried in turn, the fleet's CA pinned, a client
// certificate where there is one. Failures come out as AppErrors that say whether trying again makes sense.
import { AppError, type ErrorCode, messageOf, Problem } from '@edgeloop/shared/errors';
import type { Agent, Dispatcher } from 'undici';
import { isOutOfTime, outOfTimeWords } from './server-clock.ts';

export interface TlsMaterial {
  /** PEM of the one CA to trust; unset trusts nobody and checks nothing, only to learn the CA. */
  ca?: string;
  cert?: string;
  key?: string;
}

interface PortRequest {
  method: 'GET' | 'POST';
  path: string;
  headers?: Record<string, string>;
  /** Sent as JSON. */
  json?: unknown;
  signal: AbortSignal;
}

export interface DevicePort {
  /** A 2xx answer; its body must be read or destroyed. @throws AppError for everything else */
  send(request: PortRequest): Promise<Dispatcher.ResponseData>;
  /** From now on with this material, for example after a renewal. */
  useTls(tls: TlsMaterial): void;
  close(): Promise<void>;
}

export interface DevicePortOptions {
  hosts: readonly string[];
  port: number;
  tls: TlsMaterial;
  /** Silence after which a connection is given up. */
  silenceMs?: number;
}

/** Nobody was reached: it says nothing of what was asked for. */
export class Unreached extends AppError {
  constructor(message: string) {
    super('unavailable', message);
  }
}

const problemBytes = 64 * 1024;

/** A client of `hosts`: the one that answered last is asked first. */
export function createDevicePort({ hosts, port, tls: first, silenceMs = 30_000 }: DevicePortOptions): DevicePort {
  let tls = first;
  let connected: Promise<Agent> | undefined;
  let preferred = 0;

  async function send(asked: PortRequest): Promise<Dispatcher.ResponseData> {
    const failures: string[] = [];
    let outOfTime: { error: unknown; host: string } | undefined;
    connected ??= agentOf(tls, silenceMs);
    const agent = await connected;
    for (let turn = 0; turn < hosts.length; turn += 1) {
      const index = (preferred + turn) % hosts.length;
      const host = hosts[index] ?? 'localhost';
      const response = await ask(agent, `https://${bracketed(host)}:${port}`, asked).catch((error: unknown) => {
        asked.signal.throwIfAborted();
        failures.push(`${host}:${port}: ${reasonOf(error)}`);
        if (isOutOfTime(error)) outOfTime ??= { error, host };
        return undefined;
      });
      if (response === undefined) continue;
      preferred = index;
      if (response.statusCode < 300) return response;
      throw await refusalOf(response, asked);
    }
    if (outOfTime !== undefined)
      throw new Unreached(await outOfTimeWords(outOfTime.error, { host: outOfTime.host, port }, asked.signal));
    throw new Unreached(`the control plane does not answer (${failures.join('; ')})`);
  }

  return {
    send,
    useTls(next) {
      const former = connected;
      tls = next;
      connected = undefined;
      void former?.then((agent) => agent.close());
    },
    async close() {
      await (await connected)?.destroy();
    },
  };
}

/** The library is loaded when it is needed: a device that has what it wants asks for nothing, and it takes 10 MB. */
async function agentOf({ ca, cert, key }: TlsMaterial, silenceMs: number): Promise<Agent> {
  const { Agent } = await import('undici');
  const connect = { ca, cert, key, rejectUnauthorized: ca !== undefined, timeout: Math.min(10_000, silenceMs) };
  return new Agent({ connect, connections: 4, headersTimeout: silenceMs, bodyTimeout: silenceMs });
}

async function ask(dispatcher: Agent, origin: string, { method, path, headers, json, signal }: PortRequest) {
  const { request } = await import('undici');
  return request(origin + path, {
    dispatcher,
    method,
    headers: json === undefined ? headers : { ...headers, 'content-type': 'application/json' },
    body: json === undefined ? undefined : JSON.stringify(json),
    signal,
  });
}

/** The body of an answer as text, up to `maxBytes`. */
export async function textOf(response: Dispatcher.ResponseData, maxBytes: number): Promise<string> {
  return (await bytesOf(response, maxBytes)).toString('utf8');
}

/** @throws AppError `integrity` when the body is larger than `maxBytes` */
export async function bytesOf(response: Dispatcher.ResponseData, maxBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of response.body) {
    size += piece.length;
    if (size > maxBytes) {
      response.body.destroy();
      throw new AppError('integrity', `the control plane's answer is larger than ${maxBytes} bytes`);
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

async function refusalOf(response: Dispatcher.ResponseData, asked: PortRequest): Promise<AppError> {
  const text = await textOf(response, problemBytes).catch((error: unknown) => messageOf(error));
  const what = `${asked.method} ${asked.path} was answered with ${response.statusCode}`;
  const problem = Problem.safeParse(jsonOf(text));
  if (problem.success) return new AppError(problem.data.code, `${what}: ${problem.data.detail}`);
  return new AppError(codeOfStatus(response.statusCode), `${what}${text === '' ? '' : `: ${text.slice(0, 300)}`}`);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Not a problem document: something between us and the control plane answered.
  }
}

const codes: Record<number, ErrorCode> = {
  400: 'invalid_request',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  405: 'method_not_allowed',
  408: 'timeout',
  409: 'conflict',
  413: 'payload_too_large',
  415: 'unsupported_media_type',
  422: 'model_rejected',
  429: 'too_many_requests',
};

function codeOfStatus(status: number): ErrorCode {
  return codes[status] ?? (status < 500 ? 'invalid_request' : 'unavailable');
}

/** Whether the same request may succeed later without anybody changing anything. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof AppError)) return true;
  return ['unavailable', 'timeout', 'too_many_requests', 'internal'].includes(error.code);
}

function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join(', ');
  return messageOf(error);
}

function bracketed(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
}
