// One ONNX Runtime session. `run` is synchronous native code that blocks its thread, so this is for worker threads and
// for processes of their own, never for the thread that answers HTTP.
import { AppError, messageOf } from '@edgeloop/shared/app-error';
import { type ModelFile, type ModelSource, openServable } from '@edgeloop/shared/node/servable-model';
import type { NamedTensor, Tensor, TensorData } from '@edgeloop/shared/tensor-data';
import type { ModelSignature, TensorSpec } from '@edgeloop/shared/tensors';
import { type InferenceSession, listSupportedBackends, Tensor as OrtTensor } from 'onnxruntime-node';
import { halfTensor } from './halves.ts';
import { graphOfModel, type ModelGraph } from './model-graph.ts';
import { createOrtSession, type OrtSession, type OrtTensors } from './ort-session.ts';

export interface SessionOptions {
  /** Threads inside one run; 1 when unset, since copies of the model run beside each other. */
  intraOpThreads?: number | undefined;
  /** Execution providers to try in this order before the CPU. */
  providers?: readonly string[] | undefined;
}

/** Where a session computes. */
export interface ProvidersUsed {
  used: string[];
  /** Why it is not what was asked for; undefined when it is. */
  fallback: string | undefined;
}

export interface Session {
  signature: ModelSignature;
  providers: ProvidersUsed;
  /** Outputs in the order of the signature. Throws `invalid_request` for what ONNX Runtime refuses, else `internal`. */
  run(inputs: readonly NamedTensor[]): Promise<NamedTensor[]>;
  /**
   * The same on tensors of ONNX Runtime; `fetches` are outputs with room already allocated. Gives no promise, and throws, where
   * the session runs at once.
   */
  runTensors(feeds: OrtTensors, fetches?: OrtTensors): OrtTensors | Promise<OrtTensors>;
  /** Whether `fetches` may be given. */
  takesRoom: boolean;
  /** Of a pipeline: its steps in the order of their runs. */
  steps?: readonly StepOfPipeline[];
  release(): Promise<void>;
}

/** `does`: the file of a model, or the operation. */
export interface StepOfPipeline {
  name: string;
  does: string;
}

export type { OrtTensors } from './ort-session.ts';

export interface OpenedSession {
  session: Session;
  graph: ModelGraph;
}

/** Loads an ONNX file, whose graph is read once for all that is to be known of it. Throws `model_rejected` with the reason. */
export async function openSession(file: ModelFile, options: SessionOptions = {}): Promise<OpenedSession> {
  let providers: ProvidersUsed = { used: ['cpu'], fallback: undefined };
  const servable = await openServable(file, async (source) => {
    const made = await createWithProviders(source, options);
    providers = made.providers;
    return made.session;
  });
  const { session, signature, graph, fetches: all } = servable;
  const runTensors = (feeds: OrtTensors, fetches: OrtTensors | readonly string[] | undefined = all) =>
    runSession(session, feeds, fetches);
  const run = async (inputs: readonly NamedTensor[]): Promise<NamedTensor[]> => {
    const results = await runTensors(Object.fromEntries(inputs.map((input) => [input.name, toOrt(input)])));
    return signature.outputs.map((spec) => fromOrt(spec, results[spec.name]));
  };
  const release = async (): Promise<void> => session.release();
  return {
    session: { signature, providers, run, runTensors, release, takesRoom: true },
    graph: graphOfModel(graph, signature),
  };
}

async function createWithProviders(
  source: ModelSource,
  options: SessionOptions,
): Promise<{ session: OrtSession; providers: ProvidersUsed }> {
  const wanted = (options.providers ?? []).map((name) => name.toLowerCase()).filter((name) => name !== 'cpu');
  const here = new Set(listSupportedBackends().map(({ name }) => name));
  const tried = wanted.filter((name) => here.has(name));
  const reasons = wanted
    .filter((name) => !here.has(name))
    .map((name) => `"${name}" is not part of ONNX Runtime on this machine`);
  if (tried.length > 0) {
    try {
      const session = await createSession(source, options, [...tried, 'cpu']);
      return { session, providers: { used: [...tried, 'cpu'], fallback: reasons.join('; ') || undefined } };
    } catch (error) {
      reasons.push(`${tried.join(', ')}: ${oneLine(error)}`);
    }
  }
  try {
    const session = await createSession(source, options, ['cpu']);
    return { session, providers: { used: ['cpu'], fallback: reasons.join('; ') || undefined } };
  } catch (cause) {
    throw new AppError('model_rejected', `ONNX Runtime can't load the model: ${messageOf(cause)}`, { cause });
  }
}

/** Idle threads must not spin: they take the processor from the other copies of the model. */
function createSession(
  source: ModelSource,
  { intraOpThreads = 1 }: SessionOptions,
  executionProviders: string[],
): Promise<OrtSession> {
  const session = { intra_op: { allow_spinning: '0' } };
  const options: InferenceSession.SessionOptions = {
    executionProviders,
    intraOpNumThreads: intraOpThreads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    logSeverityLevel: 3,
  };
  if ('path' in source) return createOrtSession(source.path, { ...options, extra: { session } });
  const extra = { session: { ...session, model_external_initializers_file_folder_path: source.folder } };
  return createOrtSession(source.bytes, { ...options, extra });
}

function runSession(
  session: OrtSession,
  feeds: OrtTensors,
  fetches: OrtTensors | readonly string[] | undefined,
): OrtTensors | Promise<OrtTensors> {
  try {
    const results = session.run(feeds, fetches);
    return results instanceof Promise ? results.catch(fail) : results;
  } catch (cause) {
    return fail(cause);
  }
}

function fail(cause: unknown): never {
  const message = oneLine(cause);
  const refused = /invalid dimensions|invalid rank|unexpected input data type|is missing in 'feeds'/i.test(message);
  throw new AppError(refused ? 'invalid_request' : 'internal', `the model failed to run: ${message}`, { cause });
}

function oneLine(error: unknown): string {
  return messageOf(error).replaceAll(/\s+/g, ' ').trim();
}

/** The data is not copied: ONNX Runtime computes on it. */
export function toOrt({ datatype, shape, data }: Tensor): OrtTensor {
  if (data instanceof Float32Array) return new OrtTensor('float32', data, shape);
  if (Array.isArray(data)) return new OrtTensor('string', data, shape);
  if (data instanceof Uint8Array) {
    return datatype === 'BOOL' ? new OrtTensor('bool', data, shape) : new OrtTensor('uint8', data, shape);
  }
  if (data instanceof Uint16Array) {
    return datatype === 'FP16' ? halfTensor(data, shape) : new OrtTensor('uint16', data, shape);
  }
  if (data instanceof Float64Array) return new OrtTensor('float64', data, shape);
  if (data instanceof BigInt64Array) return new OrtTensor('int64', data, shape);
  if (data instanceof BigUint64Array) return new OrtTensor('uint64', data, shape);
  if (data instanceof Int8Array) return new OrtTensor('int8', data, shape);
  if (data instanceof Int16Array) return new OrtTensor('int16', data, shape);
  if (data instanceof Int32Array) return new OrtTensor('int32', data, shape);
  return new OrtTensor('uint32', data, shape);
}

/** Throws `internal` when the model gave no such output. */
export function fromOrt({ name, datatype }: TensorSpec, value: OrtTensor | undefined): NamedTensor {
  if (value === undefined) throw new AppError('internal', `the model gave no output "${name}"`);
  let data: TensorData = value.data;
  // From Node 24 on, halves come as Float16Array.
  if (datatype === 'FP16' && !Array.isArray(data)) data = new Uint16Array(data.buffer, data.byteOffset, data.length);
  return { name, datatype, shape: value.dims, data };
}
