// Proves a candidate in a process of its own before the serving process touches it: a model can end its process or
// never return, and must then take nobody with it.
import { fileURLToPath } from 'node:url';
import { AppError, parse } from '@edgeloop/shared/errors';
import { runBounded, sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { z } from 'zod';
import type { ModelFiles } from '../../process/ipc.ts';
import { Failure } from '../failure.ts';

export interface ProofBounds {
  timeoutMs: number;
  maxRssBytes: number;
}

/** What the proving process answers. */
export const ProofAnswer = z.object({ failure: Failure.optional() });
export type ProofAnswer = z.infer<typeof ProofAnswer>;

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const modulePath = fileURLToPath(new URL(`./prove-process.${extension}`, import.meta.url));
/** The machine's own shortages, in the system's words, as ONNX Runtime hands them on when it reads a model. */
const shortage =
  /too many open files|cannot allocate memory|no space left|input\/output error|resource temporarily unavailable/i;

/**
 * Loads and runs the model with bounds. Undefined when it holds, else what is wrong with it.
 * @throws AppError `unavailable` when the proof was ended from outside, or the machine was short of something
 */
export async function proveModel(
  model: ModelFiles,
  bounds: ProofBounds,
  signal: AbortSignal,
): Promise<Failure | undefined> {
  const result = await runBounded({
    modulePath,
    input: model,
    ...bounds,
    execArgv: sourceExecArgv(import.meta.url),
    env: { ORT_DISABLE_TELEMETRY: '1' },
    signal,
  });
  if (result.ok) {
    const { failure } = parse(ProofAnswer, result.output, 'proof', 'internal');
    if (failure !== undefined && shortage.test(failure.message)) throw new AppError('unavailable', failure.message);
    return failure;
  }
  const message = `the model's proof ${result.detail}`;
  if (result.outside) throw new AppError('unavailable', message);
  if (result.reason === 'timeout') return { code: 'timeout', message, kind: 'load' };
  return { code: 'model_rejected', message, kind: 'crash' };
}
