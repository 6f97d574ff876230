// A model's session by its manifest: of one file, or of the files of a pipeline.
import type { Pipeline } from '@edgeloop/shared/pipeline-manifest';
import { openPipelineSession, type PipelineOpening } from './pipeline-session.ts';
import { type OpenedSession, openSession, type SessionOptions } from './session.ts';

/** `path`: the file, or what holds the files of the pipeline. Throws `model_rejected` with the reason. */
export function openModel(
  path: string,
  { pipeline, ...options }: SessionOptions & { pipeline?: Pipeline | undefined } = {},
  onSteps?: PipelineOpening['onSteps'],
): Promise<OpenedSession> {
  return pipeline === undefined
    ? openSession(path, options)
    : openPipelineSession(path, { pipeline, options, onSteps });
}
