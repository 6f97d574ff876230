// The one place where errors become HTTP answers: the protocol's form, `{"error": "…"}`.
import { AppError, type ErrorCode } from '@edgeloop/shared/errors';
import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';

const statuses: Record<ErrorCode, ContentfulStatusCode> = {
  invalid_request: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  payload_too_large: 413,
  unsupported_media_type: 415,
  model_rejected: 422,
  too_many_requests: 429,
  internal: 500,
  integrity: 500,
  unsupported: 501,
  unavailable: 503,
  timeout: 504,
  insufficient_storage: 507,
};

/** How a failed request counts: `invalid` is the caller's doing, a code is ours or the model's. */
export function outcomeOf(error: unknown): 'invalid' | ErrorCode {
  if (!(error instanceof AppError)) return 'internal';
  return statuses[error.code] < 500 || error.code === 'unsupported' ? 'invalid' : error.code;
}

/** Answers an error. One that is none of ours says nothing of itself to the caller; `onUnexpected` hears of it. */
export function answerError(c: Context, error: unknown, onUnexpected: (error: unknown) => void): Response {
  if (!(error instanceof AppError)) {
    onUnexpected(error);
    return c.json({ error: 'internal error; the log of the agent has the reason' }, 500);
  }
  if (error.code === 'internal') onUnexpected(error);
  if (error.code === 'unauthorized') c.header('WWW-Authenticate', 'Bearer');
  if (error.retryAfterSeconds !== undefined) c.header('Retry-After', String(error.retryAfterSeconds));
  return c.json({ error: error.message }, statuses[error.code]);
}
