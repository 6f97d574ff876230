// What a request says of the sequence that it belongs to, in the parameters that Triton's clients send.
import { AppError } from '@edgeloop/shared/errors';
import type { Interpretation } from '@edgeloop/shared/meaning/interpretation';
import type { SequenceAsk } from '../sequences.ts';
import type { Parameters } from './fields.ts';

const longestId = 256;

/** Whether a model has sequences at all; of others, what a request says of them means nothing. */
export function keepsSequences({ states, controls }: Pick<Interpretation, 'states' | 'controls'>): boolean {
  return states.size > 0 || controls.length > 0;
}

/** Undefined for a request of none: 0 and an empty text are no ids. Throws `invalid_request`. */
export function sequenceOf(parameters: Parameters): SequenceAsk | undefined {
  const id = idOf(parameters.get('sequence_id'));
  if (id === undefined) return undefined;
  return { id, start: flag(parameters, 'sequence_start'), end: flag(parameters, 'sequence_end') };
}

function idOf(value: unknown): string | undefined {
  if (value === undefined || value === null || value === 0 || value === '') return undefined;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) return String(value);
  if (typeof value === 'string' && value.length <= longestId) return value;
  const message = `request.parameters.sequence_id must be a whole number up to ${Number.MAX_SAFE_INTEGER}, or a text of up to ${longestId}`;
  throw new AppError('invalid_request', message);
}

function flag(parameters: Parameters, name: string): boolean {
  const value = parameters.get(name);
  if (value === undefined || value === null) return false;
  if (typeof value === 'boolean') return value;
  throw new AppError('invalid_request', `request.parameters.${name} must be true or false`);
}
