// The one error type of both programs. A code says what kind of failure it is; each program maps codes to its own
// HTTP form in one place.
import { z } from 'zod';
import { AppError, type ErrorCode, errorCodes, messageOf } from './app-error.ts';

export { AppError, type AppErrorOptions, type ErrorCode, errorCodes, messageOf } from './app-error.ts';

/** What is wrong with one field of the input. `field` is a dotted path, for example `manifest.inputs.x.features`. */
export const FieldError = z.object({ field: z.string(), message: z.string() });
export type FieldError = z.infer<typeof FieldError>;

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
