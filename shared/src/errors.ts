// The one error type of both programs. A code says what kind of failure it is; each program maps codes to its own
// HTTP form in one place.
import { z } from 'zod';

export const errorCodes = [
  'invalid_request',
  'unauthorized',
  'forbidden',
  'not_found',
  'method_not_allowed',
  'conflict',
  'payload_too_large',
  'unsupported_media_type',
  'model_rejected',
  'too_many_requests',
  'unavailable',
  'timeout',
  'insufficient_storage',
  'unsupported',
  'integrity',
  'internal',
] as const;
export type ErrorCode = (typeof errorCodes)[number];

/** What is wrong with one field of the input. `field` is a dotted path, for example `manifest.inputs.x.features`. */
export const FieldError = z.object({ field: z.string(), message: z.string() });
export type FieldError = z.infer<typeof FieldError>;

export interface AppErrorOptions {
  cause?: unknown;
  errors?: FieldError[];
  /** Seconds after which trying again makes sense. */
  retryAfterSeconds?: number;
}

/** An expected failure. The message names what is wrong and what to do about it. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly errors: FieldError[];
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.errors = options.errors ?? [];
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** RFC 9457 problem details, as the control plane answers every failed request. */
export const Problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  detail: z.string(),
  code: z.enum(errorCodes),
  errors: z.array(FieldError).optional(),
});
export type Problem = z.infer<typeof Problem>;

/** Parses `value`, or throws `code` naming every wrong field under `what`. */
export function parse<S extends z.ZodType>(
  schema: S,
  value: unknown,
  what: string,
  code: ErrorCode = 'invalid_request',
): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw invalid(what, fieldErrors(result.error, what), code, result.error);
}

/** Parses JSON text, then its content, with the same errors as `parse`. */
export function parseJson<S extends z.ZodType>(
  schema: S,
  text: string,
  what: string,
  code: ErrorCode = 'invalid_request',
): z.output<S> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new AppError(code, `${what} is not valid JSON: ${messageOf(cause)}`, { cause });
  }
  return parse(schema, value, what, code);
}

export function fieldErrors(error: z.core.$ZodError, prefix: string): FieldError[] {
  return error.issues.slice(0, 20).map((issue) => ({
    field: [prefix, ...issue.path.map(String)].filter((part) => part !== '').join('.'),
    message: issue.message,
  }));
}

function invalid(what: string, errors: FieldError[], code: ErrorCode, cause: unknown): AppError {
  const first = errors[0];
  const detail = first === undefined ? 'is invalid' : `is invalid: ${first.field}: ${first.message}`;
  return new AppError(code, `${what} ${detail}`, { cause, errors });
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
