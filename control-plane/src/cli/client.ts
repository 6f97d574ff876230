// The operator's side of the HTTP API. Finds the server and the key by itself on the server's own machine.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, messageOf, Problem, parse } from '@edgeloop/shared/errors';
import type { z } from 'zod';

export interface ApiClient {
  get<S extends z.ZodType>(path: string, response: S, query?: Query): Promise<z.output<S>>;
  send<S extends z.ZodType>(
    method: 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    path: string,
    response: S,
    body?: unknown,
  ): Promise<z.output<S>>;
  /** The raw answer, for downloads and event streams. The caller reads or cancels its body. */
  open(path: string, query?: Query): Promise<Response>;
}
/** Of a list each value is a parameter. */
export type Query = Record<string, string | number | readonly string[] | undefined>;

/** `url` defaults to `EDGELOOP_URL` or this machine; `key` to `EDGELOOP_API_KEY` or the admin key in the data folder. */
export function createClient(
  environment: NodeJS.ProcessEnv,
  options: { url?: string | undefined; key?: string | undefined } = {},
): ApiClient {
  const url = defaultUrl(environment, options.url).replace(/\/+$/, '');
  const key = options.key ?? environment.EDGELOOP_API_KEY ?? adminKey(environment);

  async function call(method: string, path: string, query: Query = {}, body?: unknown): Promise<Response> {
    const isForm = body instanceof FormData;
    const response = await reach(`${url}/api/v1${path}${queryText(query)}`, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined || isForm ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
    });
    if (!response.ok) throw await failureOf(response);
    return response;
  }

  return {
    get: async (path, schema, query) =>
      parse(schema, await (await call('GET', path, query)).json(), `answer of GET ${path}`, 'internal'),
    send: async (method, path, schema, body) =>
      parse(schema, await (await call(method, path, {}, body)).json(), `answer of ${method} ${path}`, 'internal'),
    open: (path, query) => call('GET', path, query),
  };
}

/** Where the server is: as said, or by the environment, or on this machine. */
export function defaultUrl(environment: NodeJS.ProcessEnv, said?: string): string {
  return said ?? environment.EDGELOOP_URL ?? `http://127.0.0.1:${environment.EDGELOOP_HTTP_PORT ?? '7400'}`;
}

async function reach(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch (cause) {
    const reason = cause instanceof Error && cause.cause !== undefined ? messageOf(cause.cause) : messageOf(cause);
    throw new AppError(
      'unavailable',
      `no answer from ${new URL(url).origin} (${reason}); is the control plane running? Set EDGELOOP_URL to reach another one`,
      { cause },
    );
  }
}

async function failureOf(response: Response): Promise<AppError> {
  const text = await response.text();
  const problem = Problem.safeParse(tryJson(text));
  if (!problem.success) return new AppError('internal', `the server answered ${response.status} ${text.slice(0, 200)}`);
  const hint = problem.data.code === 'unauthorized' ? '; set EDGELOOP_API_KEY to a key of `edgeloop keys create`' : '';
  return new AppError(problem.data.code, problem.data.detail + hint, { errors: problem.data.errors ?? [] });
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function queryText(query: Query): string {
  const entries = Object.entries(query).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [value].flat().map((each) => [name, String(each)]),
  );
  return entries.length === 0 ? '' : `?${new URLSearchParams(entries)}`;
}

function adminKey(environment: NodeJS.ProcessEnv): string {
  const path = join(environment.EDGELOOP_DATA_DIR ?? 'data/control-plane', 'admin.key');
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (cause) {
    throw new AppError(
      'unauthorized',
      `no API key: set EDGELOOP_API_KEY, or run on the server's machine where ${path} can be read`,
      { cause },
    );
  }
}
