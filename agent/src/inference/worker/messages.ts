// What the HTTP thread and a worker thread say to each other by message: everything that is rare or does not fit the ring.

import type { MessagePort } from 'node:worker_threads';
import { AppError, type ErrorCode, messageOf } from '@edgeloop/shared/app-error';
import type { GoldenSamples } from '@edgeloop/shared/golden';
import type { StepRun } from '@edgeloop/shared/pipeline/run';
import type { Pipeline } from '@edgeloop/shared/pipeline-manifest';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import type { Joining } from '../joining/joining.ts';
import type { ShapedData } from '../ring/records.ts';
import type { SharedRing } from '../ring/ring.ts';
import type { ProvidersUsed, StepOfPipeline } from './session.ts';

/** A model as a worker thread needs to know it. */
export interface ModelToOpen {
  /** What the ring calls it. */
  id: number;
  name: string;
  version: number;
  /** The ONNX file. */
  path: string;
  /** Its models, when there are several; `path` is then what holds their files. */
  pipeline?: Pipeline | undefined;
  intraOpThreads: number;
  providers: readonly string[];
  golden: GoldenSamples | undefined;
  /** `process`: in a process of its own. */
  isolation: 'shared' | 'process';
  /** What was found out when it was loaded first; to be found out when unset. */
  joining?: Joining | undefined;
}

export interface OpenedModel {
  signature: ModelSignature;
  /** Of a pipeline. */
  steps?: readonly StepOfPipeline[] | undefined;
  joining: Joining;
  /** As far as its graph goes, the thread that answers HTTP may run it. */
  plain: boolean;
  providers: ProvidersUsed;
  /** What it takes its thread to load it again: to make the session and to run the golden samples. */
  loadMs: number;
}

/** Failures are values: a class of errors does not survive the way between threads. */
export interface Failure {
  code: ErrorCode;
  message: string;
}

export function failureOf(error: unknown): Failure {
  return { code: error instanceof AppError ? error.code : 'internal', message: messageOf(error) };
}

/** What a worker's one task is started with. */
export interface WorkerStart {
  ring: SharedRing;
  port: MessagePort;
  runningNote: { path: string; slot: number } | undefined;
}

export type ToWorker =
  /** Load, and run the golden samples. */
  | { kind: 'open'; model: ModelToOpen }
  | { kind: 'close'; id: number }
  /** Inputs of the slot with this sequence, which precedes the slot. */
  | { kind: 'inputs'; sequence: number; inputs: readonly NamedTensor[] }
  /** End the task once what is in the ring has run. */
  | { kind: 'stop' };

/** What a worker answers when it is told to open or close a model. */
export type OpeningAnswer =
  | { kind: 'opened'; id: number; model: OpenedModel }
  | { kind: 'refused'; id: number; failure: Failure }
  | { kind: 'closed'; id: number };

export type FromWorker =
  | OpeningAnswer
  /** It is up. `taskId`: what Linux calls the thread; undefined elsewhere. */
  | { kind: 'started'; taskId: number | undefined }
  /** Something in the ring has ended. */
  | { kind: 'ended' }
  /** The outputs of a slot whose state is `elsewhere`; precedes that state. */
  | { kind: 'outputs'; sequence: number; outputs: ShapedData[] }
  /** The reason of a slot whose state is `failed`; precedes that state. */
  | { kind: 'failed'; sequence: number; failure: Failure }
  /** Requests of this model can't share a run after all. */
  | { kind: 'unbatchable'; id: number }
  /** The steps of one run of a pipeline; precedes its answer. */
  | { kind: 'steps'; id: number; runs: readonly StepRun[] };
