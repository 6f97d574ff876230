// Runs a pipeline, step by step: what a model gets and gives stands in tensors, and each is let go once nothing needs it.
import { AppError, messageOf } from '../app-error.ts';
import type { NamedTensor, Tensor } from '../tensor-data.ts';
import type { TensorSpec } from '../tensors.ts';
import { misfit } from './operation.ts';
import type { ModelRun, Plan, PlannedStep } from './plan.ts';
import { emptyData, joined, rowsOf } from './tensor-parts.ts';

/** How one step of one run went. */
export interface StepRun {
  /** Place among the steps of the plan. */
  at: number;
  ms: number;
  failed: boolean;
  /** There was more than the step may give. */
  cut: boolean;
}

export interface PipelineRunner {
  /** Runs the model in this file. */
  runModel(file: string, inputs: readonly NamedTensor[]): Promise<NamedTensor[]>;
  nowMs(): number;
  /** Told of each step that ran, also of one that failed. */
  onStep?(run: StepRun): void;
}

/** The outputs in the order of the signature. Throws what a step throws, naming it; `invalid_request` for inputs that do not fit. */
export async function runPipeline(
  { signature, steps }: Plan,
  inputs: readonly NamedTensor[],
  { runModel, nowMs, onStep }: PipelineRunner,
): Promise<NamedTensor[]> {
  const tensors = new Map<string, Tensor>();
  for (const spec of signature.inputs) tensors.set(spec.name, fitting(spec, inputs));
  const read = (name: string): Tensor => {
    const tensor = tensors.get(name);
    if (!tensor) throw new AppError('internal', `the tensor "${name}" was not made`);
    return tensor;
  };
  for (const [at, step] of steps.entries()) {
    const begunMs = nowMs();
    try {
      const cut = await runStep(step, { tensors, read, runModel });
      onStep?.({ at, ms: nowMs() - begunMs, failed: false, cut });
    } catch (error) {
      onStep?.({ at, ms: nowMs() - begunMs, failed: true, cut: false });
      const code = error instanceof AppError ? error.code : 'internal';
      throw new AppError(code, `step "${step.name}" (${step.does}): ${messageOf(error)}`, { cause: error });
    }
    for (const name of step.last) tensors.delete(name);
  }
  return signature.outputs.map(({ name }) => ({ ...read(name), name }));
}

interface Running extends Pick<PipelineRunner, 'runModel'> {
  tensors: Map<string, Tensor>;
  read(name: string): Tensor;
}

async function runStep({ run }: PlannedStep, { tensors, read, runModel }: Running): Promise<boolean> {
  if ('operation' in run) {
    const made = run.operation.run(read);
    for (const [name, tensor] of made.tensors) tensors.set(name, tensor);
    return made.isCut === true;
  }
  const given = run.model.inputs.map(({ spec, tensor }) => ({ ...read(tensor), name: spec.name }));
  const results = await runModelStep(run.model, given, runModel);
  for (const [place, { tensor }] of run.model.outputs.entries()) {
    const result = results[place];
    if (result) tensors.set(tensor, result);
  }
  return false;
}

/** The outputs that the step names, in its order. */
async function runModelStep(
  model: ModelRun,
  given: readonly NamedTensor[],
  runModel: PipelineRunner['runModel'],
): Promise<Tensor[]> {
  const isEmpty = given.some(({ shape }) => shape[0] === 0);
  // Few models take no rows at all, and there is nothing to find out.
  if (isEmpty && (model.each || model.outputs.every(({ spec }) => spec.shape[0] === -1)))
    return model.outputs.map(({ spec }) => withoutRows(spec));
  if (!model.each) return pick(model, await runModel(model.file, given));
  const rows = rowCount(given);
  const results: Tensor[][] = [];
  for (let row = 0; row < rows; row++) {
    const one = given.map((input) => ({ ...rowsOf(input, [input.shape[0] === 1 ? 0 : row]), name: input.name }));
    results.push(pick(model, await runModel(model.file, one)));
  }
  return model.outputs.map(({ spec }, place) =>
    behind(
      spec,
      results.flatMap((result) => result[place] ?? []),
    ),
  );
}

function pick({ outputs }: ModelRun, results: readonly NamedTensor[]): Tensor[] {
  return outputs.map(({ spec }) => {
    const result = results.find(({ name }) => name === spec.name);
    if (!result) throw new AppError('internal', `the model gave no output "${spec.name}"`);
    return result;
  });
}

/** Inputs of one row go along with each of the others. */
function rowCount(given: readonly NamedTensor[]): number {
  const counts = new Set(given.map(({ shape }) => shape[0] ?? 1).filter((count) => count !== 1));
  if (counts.size > 1) throw misfit(`its inputs have ${[...counts].join(' and ')} rows`);
  return [...counts][0] ?? 1;
}

/** Results of one row each, as one tensor. */
function behind({ name, datatype }: TensorSpec, results: readonly Tensor[]): Tensor {
  const [first] = results;
  if (!first) throw new AppError('internal', `the model gave no output "${name}"`);
  const other = results.find(
    ({ shape }) => shape.length === 0 || shape.slice(1).join() !== first.shape.slice(1).join(),
  );
  if (other) throw misfit(`output "${name}" is [${first.shape}] for one row and [${other.shape}] for another`);
  const rows = results.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0);
  const data = joined(
    datatype,
    results.map((result) => result.data),
  );
  return { datatype, shape: [rows, ...first.shape.slice(1)], data };
}

/** What a model would give for no rows. */
function withoutRows({ datatype, shape }: TensorSpec): Tensor {
  return { datatype, shape: [0, ...shape.slice(1).map((dim) => Math.max(0, dim))], data: emptyData(datatype, 0) };
}

function fitting({ name, datatype, shape }: TensorSpec, inputs: readonly NamedTensor[]): Tensor {
  const input = inputs.find((each) => each.name === name);
  if (!input) throw misfit(`input "${name}" is missing`);
  if (input.datatype !== datatype) throw misfit(`input "${name}" is ${input.datatype}, and must be ${datatype}`);
  const fits = input.shape.length === shape.length && shape.every((dim, i) => dim === -1 || dim === input.shape[i]);
  if (!fits) throw misfit(`input "${name}" is [${input.shape}], and must be [${shape}]`);
  return input;
}
