// The one way to the API: same origin, bearer key, problem documents turned into errors with a sentence for people.
import { AppError, fieldErrors, messageOf, Problem } from '@edgeloop/shared/errors';
import type { z } from 'zod';
import { apiKey, signOut } from './session.ts';

export const apiRoot = '/api/v1';

export interface ApiRequest {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** Below `/api/v1`, with its query. */
  path: string;
  body?: unknown;
  /** It only asks, so that it may be sent again without care. */
  asks?: true;
  /** Another key than the session's, to try it. */
  key?: string;
}

/**
 * Sends a request and gives the JSON of its answer, null without one.
 * @throws AppError with the problem's detail, or `unavailable` when the server cannot be reached
 */
export async function send(request: ApiRequest): Promise<unknown> {
  const response = await reach(request);
  const text = await response.text();
  if (response.ok) return text === '' ? null : parsedJson(text, request);
  const failure = failureOf(response, text, request);
  if (response.status === 401 && request.key === undefined) signOut(failure.message);
  throw failure;
}

/** @throws AppError `internal` naming the field of the answer that is wrong */
export function checked<S extends z.ZodType>(schema: S, answer: unknown, path: string): z.output<S> {
  const result = schema.safeParse(answer);
  if (result.success) return result.data;
  const errors = fieldErrors(result.error, '');
  const first = errors[0] === undefined ? '' : `: ${errors[0].field}: ${errors[0].message}`;
  const message = `The answer of ${path.split('?')[0]} is not as this page expects${first}`;
  throw new AppError('internal', message, { cause: result.error, errors });
}

/** A path's query from its defined parts, with the question mark; empty without any. */
export function queryOf(parts: Record<string, string | number | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parts)) {
    if (value !== undefined && value !== '') query.set(name, String(value));
  }
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
}

async function reach(request: ApiRequest): Promise<Response> {
  const headers = new Headers({ Accept: 'application/json' });
  const key = request.key ?? apiKey.value;
  if (key !== undefined) headers.set('Authorization', `Bearer ${key}`);
  if (request.method !== 'GET' && request.asks !== true) headers.set('Idempotency-Key', randomId());
  if (request.body !== undefined) headers.set('Content-Type', 'application/json');
  const body = request.body === undefined ? null : JSON.stringify(request.body);
  try {
    return await fetch(apiRoot + request.path, { method: request.method, headers, body });
  } catch (cause) {
    throw new AppError('unavailable', `The control plane cannot be reached (${messageOf(cause)}).`, { cause });
  }
}

function failureOf(response: Response, text: string, request: ApiRequest): AppError {
  const problem = Problem.safeParse(json(text));
  if (problem.success) {
    return new AppError(problem.data.code, problem.data.detail, { errors: problem.data.errors ?? [] });
  }
  const what = `${request.method} ${request.path.split('?')[0]}`;
  return new AppError(
    response.status === 401 ? 'unauthorized' : 'unavailable',
    `${what} answered ${response.status} ${response.statusText}`.trim(),
  );
}

function parsedJson(text: string, request: ApiRequest): unknown {
  const value = json(text);
  if (value !== undefined) return value;
  throw new AppError('internal', `The answer of ${request.path.split('?')[0]} is not JSON`);
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** `crypto.randomUUID` exists on https and localhost only, and a fleet's network may have neither. */
function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
