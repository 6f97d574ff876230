// A run as it is first written down, with everything that it needs fixed, whatever becomes of its pipeline.
import type { PipelineSpec } from '@edgeloop/shared/api/training';
import { parse } from '@edgeloop/shared/errors';
import { v7 as uuid } from 'uuid';
import type { Schema } from '../../database/schema.ts';
import { TrainerSpec } from '../trainers/parameters.ts';
import type { StoredCause } from './run-store.ts';

/** The spec with every parameter of its trainer. @throws AppError `invalid_request` naming the wrong one */
export function resolveTrainer(spec: PipelineSpec): PipelineSpec {
  const { kind, parameters } = parse(TrainerSpec, spec.trainer, 'trainer');
  return { ...spec, trainer: { kind, parameters } };
}

export function newRun(
  spec: PipelineSpec,
  { cause, causeKey, seed, at }: { cause: StoredCause; causeKey?: string; seed: number; at: number },
): Schema['runs']['$inferSelect'] {
  const id = uuid();
  return {
    id,
    pipeline: spec.name,
    model: spec.model,
    status: 'queued',
    stage: 'queued',
    cause,
    causeKey: causeKey ?? `manual:${id}`,
    seed,
    spec: resolveTrainer(spec),
    dataset: null,
    metrics: {},
    evaluation: null,
    registeredVersion: null,
    rolloutId: null,
    error: null,
    cancelRequested: false,
    createdAt: at,
    startedAt: null,
    endedAt: null,
  };
}
