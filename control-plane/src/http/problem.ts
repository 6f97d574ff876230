// The one place where failures become HTTP: an exhaustive map from code to status, and problem details (RFC 9457).
import { AppError, type ErrorCode, type Problem } from '@edgeloop/shared/errors';
import type { Context, NotFoundHandler } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { Logger } from 'pino';
import { storageFailure } from '../database/storage-failure.ts';

/** HTTP status of an error code. */
function statusOf(code: ErrorCode): ContentfulStatusCode {
  switch (code) {
    case 'invalid_request':
      return 400;
    case 'unauthorized':
      return 401;
    case 'forbidden':
      return 403;
    case 'not_found':
      return 404;
    case 'method_not_allowed':
      return 405;
    case 'conflict':
      return 409;
    case 'payload_too_large':
      return 413;
    case 'unsupported_media_type':
      return 415;
    case 'model_rejected':
    case 'destination_refused':
    case 'integrity':
      return 422;
    case 'too_many_requests':
      return 429;
    case 'unsupported':
      return 501;
    case 'unavailable':
      return 503;
    case 'timeout':
      return 504;
    case 'insufficient_storage':
      return 507;
    case 'internal':
      return 500;
  }
}

/** Any throw as an AppError; what was not expected becomes `internal` and keeps its message to the log. */
function asAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const storage = storageFailure(error);
  if (storage !== undefined) return storage;
  if (error instanceof HTTPException) return new AppError(codeOfStatus(error.status), error.message, { cause: error });
  return new AppError('internal', 'the server failed; its log says why', { cause: error });
}

/** The error as problem details. */
function problemOf(error: AppError): Problem {
  const status = statusOf(error.code);
  return {
    type: `urn:edgeloop:problem:${error.code.replaceAll('_', '-')}`,
    title: titleOf(error.code),
    status,
    detail: error.message,
    code: error.code,
    ...(error.errors.length === 0 ? {} : { errors: error.errors }),
  };
}

/** The answer to a failed request. */
function problemResponse(c: Context, error: AppError): Response {
  if (error.code === 'unauthorized') c.header('WWW-Authenticate', 'Bearer realm="edgeloop"');
  if (error.retryAfterSeconds !== undefined) c.header('Retry-After', String(Math.ceil(error.retryAfterSeconds)));
  const problem = problemOf(error);
  return c.body(JSON.stringify(problem), statusOf(error.code), { 'Content-Type': 'application/problem+json' });
}

/** `app.onError`: answers with problem details, and logs what is the server's fault; `note` hears of every failure. */
export function onError(
  log: Logger,
  note: (error: unknown) => unknown = () => undefined,
): (error: Error, c: Context) => Response {
  return (error, c) => {
    note(error);
    const known = asAppError(error);
    if (known.code === 'internal') log.error({ err: error, method: c.req.method, path: c.req.path }, 'request failed');
    return problemResponse(c, known);
  };
}

export const onNotFound: NotFoundHandler = (c) =>
  problemResponse(c, new AppError('not_found', `there is nothing at ${c.req.method} ${c.req.path}; see /docs`));

function titleOf(code: ErrorCode): string {
  const words = code.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function codeOfStatus(status: number): ErrorCode {
  switch (status) {
    case 401:
      return 'unauthorized';
    case 403:
      return 'forbidden';
    case 404:
      return 'not_found';
    case 405:
      return 'method_not_allowed';
    case 413:
      return 'payload_too_large';
    case 415:
      return 'unsupported_media_type';
    default:
      return status < 500 ? 'invalid_request' : 'internal';
  }
}
