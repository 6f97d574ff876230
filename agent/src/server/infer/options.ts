// What a request says about when it is to run: priority and deadline, as parameters of Triton's or as a header.
import { AppError } from '@edgeloop/shared/errors';
import type { RunOptions } from '../../inference/queueing/batcher.ts';
import type { Parameters } from './fields.ts';

/**
 * Triton's `timeout` is in microseconds, its `priority` counts from 1 (the highest), and 0 is the default of both. The
 * earlier of the two deadlines holds. Throws `invalid_request`.
 */
export function runOptions(parameters: Parameters, timeoutMs: string | undefined, startedMs: number): RunOptions {
  refuseReserved(parameters);
  const timeout = wholeNumber(parameters, 'timeout', 'microseconds') / 1000;
  const patience = millisecondsOf(timeoutMs);
  const limit = timeout > 0 && patience > 0 ? Math.min(timeout, patience) : Math.max(timeout, patience);
  const priority = Math.max(0, wholeNumber(parameters, 'priority', 'a priority from 1, the highest') - 1);
  return { priority, deadline: limit > 0 ? startedMs + limit : undefined };
}

function wholeNumber(parameters: Parameters, name: string, what: string): number {
  const value = parameters.get(name);
  if (value === undefined || value === null) return 0;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return value;
  throw new AppError('invalid_request', `request.parameters.${name} must be a whole number of ${what}`);
}

function millisecondsOf(header: string | undefined): number {
  if (header === undefined) return 0;
  if (/^\d{1,9}(\.\d{1,3})?$/.test(header)) return Number(header);
  throw new AppError('invalid_request', 'header x-request-timeout-ms must be a number of milliseconds');
}

/** Triton keeps these for itself; one of them is what its clients send on every streaming request. */
function refuseReserved(parameters: Parameters): void {
  for (const name of parameters.keys()) {
    if (!name.startsWith('triton_') || name === 'triton_enable_empty_final_response') continue;
    throw new AppError('invalid_request', `request.parameters.${name}: names that begin with "triton_" are reserved`);
  }
}
