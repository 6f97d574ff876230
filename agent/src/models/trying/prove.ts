// Proves a candidate in a process of its own before the serving process touches it: a model can end its process or
// never return, and must then take nobody with it.
import { fileURLToPath } from 'node:url';
import { Measured } from '@edgeloop/shared/acceptance';
import { AppError, parse } from '@edgeloop/shared/errors';
import { runBounded, sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { z } from 'zod';
import { ModelFiles } from '../../process/ipc.ts';
import { Failure } from '../failure.ts';
import { measuringMs } from './bounds.ts';

export interface ProofBounds {
  timeoutMs: number;
  maxRssBytes: number;
}

export interface ProofQuestion {
  /** Execution providers where the manifest names none. */
  providers?: readonly string[] | undefined;
  /** To compare it, also when it has no bounds. */
  measure?: boolean;
}

/** What the proving process is asked. */
export const ProofInput = z.object({
  model: ModelFiles,
  providers: z.array(z.string()),
  measure: z.boolean(),
});

/** What the proving process answers: what is wrong with the model, and what was measured. */
export const Proof = z.object({ failure: Failure.optional(), measured: Measured.optional() });
export type Proof = z.infer<typeof Proof>;

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const modulePath = fileURLToPath(new URL(`./prove-process.${extension}`, import.meta.url));
/** The machine's own shortages, in the system's words, as ONNX Runtime hands them on when it reads a model. */
const shortage =
  /too many open files|cannot allocate memory|no space left|input\/output error|resource temporarily unavailable/i;

/**
 * Loads and runs the model with bounds, and measures it where it has some to keep.
 * @throws AppError `unavailable` when the proof was ended from outside, or the machine was short of something
 */
export async function proveModel(
  model: ModelFiles,
  bounds: ProofBounds,
  signal: AbortSignal,
  { providers = [], measure = false }: ProofQuestion = {},
): Promise<Proof> {
  const { acceptance } = model.manifest;
  const isMeasured = measure || acceptance !== undefined;
  const result = await runBounded({
    modulePath,
    input: { model, providers: model.manifest.providers ?? providers, measure },
    ...bounds,
    timeoutMs: bounds.timeoutMs + (isMeasured ? measuringMs(acceptance) : 0),
    execArgv: sourceExecArgv(import.meta.url),
    env: { ORT_DISABLE_TELEMETRY: '1' },
    signal,
  });
  if (result.ok) {
    const proof = parse(Proof, result.output, 'proof', 'internal');
    if (proof.failure !== undefined && shortage.test(proof.failure.message))
      throw new AppError('unavailable', proof.failure.message);
    return proof;
  }
  const message = `the model's proof ${result.detail}`;
  if (result.outside) throw new AppError('unavailable', message);
  if (result.reason === 'timeout') return { failure: { code: 'timeout', message, kind: 'load' } };
  return { failure: { code: 'model_rejected', message, kind: 'crash' } };
}
