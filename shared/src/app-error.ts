// The error itself, apart from the schemas around it: worker threads, which check nothing from outside, need not load a
// schema library for it (some 8 MB each).

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
  'destination_refused',
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
export interface FieldError {
  field: string;
  message: string;
}

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

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
