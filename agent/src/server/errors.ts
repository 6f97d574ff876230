// The one place where errors become HTTP answers: the protocol's form, `{"error": "…"}`.
import { AppError, type ErrorCode } from '@edgeloop/shared/errors';

/** An answer, whoever sends it: hono, or Node's server where that is quicker. */
export interface Reply {
  status: number;
  headers: Record<string, string>;
  body: string | Buffer;
}

const statuses: Record<ErrorCode, number> = {
  invalid_request: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  payload_too_large: 413,
  unsupported_media_type: 415,
  model_rejected: 422,
  destination_refused: 422,
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
export function errorReply(error: unknown, onUnexpected: (error: unknown) => void): Reply {
  if (!(error instanceof AppError)) {
    onUnexpected(error);
    return refusalReply(500, 'internal error; the log of the agent has the reason');
  }
  if (error.code === 'internal') onUnexpected(error);
  const reply = refusalReply(statuses[error.code], error.message);
  if (error.code === 'unauthorized') reply.headers['WWW-Authenticate'] = 'Bearer';
  if (error.retryAfterSeconds !== undefined) reply.headers['Retry-After'] = String(error.retryAfterSeconds);
  return reply;
}

function refusalReply(status: number, message: string): Reply {
  return { ...jsonReply({ error: message }), status };
}

/** An answer of one JSON value. */
export function jsonReply(value: unknown): Reply {
  const body = JSON.stringify(value);
  const headers = { 'Content-Type': 'application/json', 'Content-Length': String(Buffer.byteLength(body)) };
  return { status: 200, headers, body };
}

/** The reply as hono sends it. */
export function responseOf({ status, headers, body }: Reply): Response {
  return new Response(typeof body === 'string' ? body : new Uint8Array(body), { status, headers });
}
