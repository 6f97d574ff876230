// What the training room needs of the rest of the control plane.
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { RolloutPlan } from '@edgeloop/shared/api/rollouts';
import type { Logger } from 'pino';
import type { Blobs } from '../blobs/folder.ts';
import type { Data } from '../data/data.ts';
import type { Database } from '../database/open.ts';
import type { Registry } from '../registry/registry.ts';
import type { EvaluationLimits } from './evaluation/evaluate.ts';

export interface TrainingDeps {
  database: Database;
  data: Pick<Data, 'newest' | 'version' | 'build' | 'files' | 'labelledSince' | 'heldOutField'>;
  registry: Pick<Registry, 'model' | 'version' | 'register'>;
  blobs: Pick<Blobs, 'path'>;
  /** How many devices should run each version of the model. */
  deployed: (model: string) => Promise<ReadonlyMap<number, number>>;
  /** Starts a rollout and gives its id. Called again for the same `runId`, it gives the rollout that it has started. */
  release: (model: string, version: number, plan: RolloutPlan, runId: string) => Promise<string>;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  log: Logger;
  /** Job folders are made below it. */
  dataDir: string;
  evaluationLimits?: EvaluationLimits;
}
