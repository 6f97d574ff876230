// A pipeline that fits its models: the one checker of the registry and of agents. Nothing is run here.
import { Faults, listed, reject } from '../meaning/rejection.ts';
import type { ModelStep, Pipeline, PipelineStep } from '../pipeline-manifest.ts';
import type { ModelSignature, TensorSpec } from '../tensors.ts';
import { detect } from './boxes.ts';
import { argmax, average, cast, scale, sigmoid, softmax, threshold, topK } from './numbers.ts';
import { commonShape, type Fitting, type Operation, type TensorFacts } from './operation.ts';
import { concat, filter, select, slice } from './parts.ts';
import { crop, picture } from './pictures.ts';
import { fieldOf, madeBy, orderOf, readBy } from './wiring.ts';

/** A run of a model. */
export interface ModelRun {
  file: string;
  /** Of the model, with the tensors that it gets. */
  inputs: readonly { spec: TensorSpec; tensor: string }[];
  outputs: readonly { spec: TensorSpec; tensor: string }[];
  /** One run for each row. */
  each: boolean;
  /** What its file calls its classes. */
  classNames: readonly string[] | undefined;
}

export interface PlannedStep {
  name: string;
  /** Of the model, or what is done. */
  does: string;
  run: { model: ModelRun } | { operation: Operation };
  /** Tensors that nothing behind it needs. */
  last: readonly string[];
}

export interface Plan {
  signature: ModelSignature;
  steps: readonly PlannedStep[];
  /** What stands against requests sharing a run, apart from the models themselves; undefined when nothing does. */
  againstJoining: string | undefined;
}

/** `signatures`: of the files that steps name. Throws `model_rejected` naming every step that cannot be, and why. */
export function planPipeline(pipeline: Pipeline, signatures: ReadonlyMap<string, ModelSignature>): Plan {
  const faults = new Faults();
  const order = orderOf(pipeline, faults);
  faults.end();
  const known = new Map<string, TensorFacts>(pipeline.inputs.map(({ name, ...facts }) => [name, facts]));
  const runs = new Map<number, PlannedStep['run']>();
  for (const at of order) {
    const step = pipeline.steps[at];
    // What reads from a step with a fault would only repeat it.
    if (!step || readBy(step).some(({ tensor }) => !known.has(tensor))) continue;
    const run = faults.attempt(() => bound(step, at, { known, signatures }));
    if (!run) continue;
    runs.set(at, run);
    for (const [tensor, facts] of outputsOf(run)) known.set(tensor, facts);
  }
  faults.end();
  const steps = order.flatMap((at) => {
    const [step, run] = [pipeline.steps[at], runs.get(at)];
    return step && run ? [{ name: step.name, does: doneBy(step), run, last: [] }] : [];
  });
  return {
    signature: signatureOf(pipeline, known, { runs: [...runs.values()], signatures }),
    steps: withLast(steps, order, pipeline),
    againstJoining: againstJoining(pipeline, steps),
  };
}

function doneBy(step: PipelineStep): string {
  return isModel(step) ? step.model : step.operation;
}

function isModel(step: PipelineStep): step is ModelStep {
  return step.operation === undefined || step.operation === 'model';
}

interface Around {
  known: ReadonlyMap<string, TensorFacts>;
  signatures: ReadonlyMap<string, ModelSignature>;
}

function bound(step: PipelineStep, at: number, { known, signatures }: Around): PlannedStep['run'] {
  const wrong: Fitting['wrong'] = (field, reason) => reject(fieldOf(at, field), `step "${step.name}": ${reason}`);
  const factsOf: Fitting['factsOf'] = (tensor) => known.get(tensor) ?? { datatype: 'FP32', shape: [] };
  const fitting = { wrong, factsOf };
  if (!isModel(step)) return { operation: operationOf(step, fitting) };
  const signature = signatures.get(step.model);
  if (!signature) throw wrong('model', `there is no file "${step.model}"`);
  return { model: modelRun(step, signature, fitting) };
}

function operationOf(step: Exclude<PipelineStep, ModelStep>, fitting: Fitting): Operation {
  switch (step.operation) {
    case 'softmax':
      return softmax(step, fitting);
    case 'sigmoid':
      return sigmoid(step, fitting);
    case 'argmax':
      return argmax(step, fitting);
    case 'top-k':
      return topK(step, fitting);
    case 'threshold':
      return threshold(step, fitting);
    case 'scale':
      return scale(step, fitting);
    case 'cast':
      return cast(step, fitting);
    case 'slice':
      return slice(step, fitting);
    case 'select':
      return select(step, fitting);
    case 'concat':
      return concat(step, fitting);
    case 'average':
      return average(step, fitting);
    case 'filter':
      return filter(step, fitting);
    case 'detect':
      return detect(step, fitting);
    case 'picture':
      return picture(step, fitting);
    case 'crop':
      return crop(step, fitting);
  }
}

function modelRun(step: ModelStep, signature: ModelSignature, { factsOf, wrong }: Fitting): ModelRun {
  const each = step.rows === 'each';
  for (const name of Object.keys(step.inputs))
    if (!signature.inputs.some((spec) => spec.name === name))
      throw wrong(`inputs.${name}`, `"${step.model}" has no such input; it takes ${listed(signature.inputs)}`);
  const inputs = signature.inputs.map((spec) => {
    const tensor = step.inputs[spec.name];
    if (tensor === undefined)
      throw wrong('inputs', `"${step.model}" needs "${spec.name}" [${spec.shape}]; say which tensor it gets`);
    const reason = reasonAgainst(factsOf(tensor), { spec, tensor, each });
    if (reason !== undefined) throw wrong(`inputs.${spec.name}`, reason);
    return { spec, tensor };
  });
  const outputs = Object.entries(step.outputs).map(([name, tensor]) => {
    const spec = signature.outputs.find((output) => output.name === name);
    if (!spec)
      throw wrong(`outputs.${name}`, `"${step.model}" has no such output; it gives ${listed(signature.outputs)}`);
    if (each && spec.shape.length > 0 && spec.shape[0] !== 1 && spec.shape[0] !== -1)
      throw wrong(`outputs.${name}`, `"${name}" [${spec.shape}] is not one row, so "rows": "each" has nothing to join`);
    return { spec, tensor };
  });
  return { file: step.model, inputs, outputs, each, classNames: signature.classNames };
}

function reasonAgainst(
  { datatype, shape }: TensorFacts,
  { spec, tensor, each }: { spec: TensorSpec; tensor: string; each: boolean },
): string | undefined {
  const wants = `"${spec.name}" ${spec.datatype} [${spec.shape}]`;
  if (datatype !== spec.datatype)
    return `${wants} does not take "${tensor}", which is ${datatype}; a step "cast" to ${spec.datatype} makes it fit`;
  // Where the file does not say a shape, it is ONNX Runtime's to refuse.
  if (spec.shape.length === 0 || shape.length === 0) return undefined;
  if (each && spec.shape[0] !== 1 && spec.shape[0] !== -1) return `${wants} does not take one row at a time`;
  const row = each && spec.shape[0] === 1 ? [-1, ...spec.shape.slice(1)] : spec.shape;
  if (commonShape(row, shape)) return rowsMayDiffer(spec, shape) && !each ? eachHint(wants, tensor, shape) : undefined;
  const couldBeEach = !each && spec.shape[0] === 1 && commonShape([-1, ...spec.shape.slice(1)], shape);
  return couldBeEach ? eachHint(wants, tensor, shape) : `${wants} does not take "${tensor}" [${shape}]`;
}

/** The model takes one row, and how many come is known only when it runs. */
function rowsMayDiffer(spec: TensorSpec, shape: readonly number[]): boolean {
  return spec.shape[0] === 1 && shape[0] === -1 && shape.length > 1;
}

function eachHint(wants: string, tensor: string, shape: readonly number[]): string {
  return `${wants} takes one row, and "${tensor}" [${shape}] may have more; "rows": "each" runs it once for each row`;
}

function outputsOf(run: PlannedStep['run']): Iterable<[string, TensorFacts]> {
  if ('operation' in run) return run.operation.outputs;
  const { outputs, each, classNames } = run.model;
  return outputs.map(({ spec: { datatype, shape }, tensor }) => [
    tensor,
    { datatype, shape: each && shape.length > 0 ? [-1, ...shape.slice(1)] : shape, classNames },
  ]);
}

interface Models {
  runs: readonly PlannedStep['run'][];
  signatures: ReadonlyMap<string, ModelSignature>;
}

function signatureOf(
  { inputs, outputs }: Pipeline,
  known: ReadonlyMap<string, TensorFacts>,
  models: Models,
): ModelSignature {
  const specs = outputs.flatMap((name) => {
    const facts = known.get(name);
    return facts ? [{ name, datatype: facts.datatype, shape: [...facts.shape] }] : [];
  });
  // Of the last step whose classes come out, also by way of steps that leave each class in its place.
  const made = models.runs.flatMap((run) => [...outputsOf(run)]);
  const names = made.findLast(([tensor, { classNames }]) => classNames !== undefined && outputs.includes(tensor));
  const label = labelOf(outputs, models);
  return {
    inputs: inputs.map(({ name, datatype, shape }) => ({ name, datatype, shape: [...shape] })),
    outputs: specs,
    ...(names?.[1].classNames === undefined ? {} : { classNames: [...names[1].classNames] }),
    ...(label === undefined ? {} : { labelOutput: label }),
  };
}

function labelOf(outputs: readonly string[], { runs, signatures }: Models): string | undefined {
  const labels = runs.flatMap((run) => {
    if ('operation' in run) return [];
    const label = signatures.get(run.model.file)?.labelOutput;
    return run.model.outputs.flatMap(({ spec, tensor }) => (spec.name === label ? [tensor] : []));
  });
  return labels.findLast((tensor) => outputs.includes(tensor));
}

function withLast(
  steps: readonly PlannedStep[],
  order: readonly number[],
  { outputs, steps: all }: Pipeline,
): PlannedStep[] {
  const needed = new Set(outputs);
  const planned: PlannedStep[] = [];
  for (const [place, at] of [...order.entries()].reverse()) {
    const [step, source] = [steps[place], all[at]];
    if (!step || !source) continue;
    const touched = [...readBy(source), ...madeBy(source)].map(({ tensor }) => tensor);
    const last = [...new Set(touched)].filter((tensor) => !needed.has(tensor));
    for (const { tensor } of readBy(source)) needed.add(tensor);
    planned.unshift({ ...step, last });
  }
  return planned;
}

function againstJoining({ inputs }: Pipeline, steps: readonly PlannedStep[]): string | undefined {
  const single = inputs.find(({ shape }) => shape[0] !== -1);
  if (single) return `input "${single.name}" [${single.shape}] has no rows`;
  for (const { name, does, run } of steps) {
    if ('operation' in run && !run.operation.keepsRows) return `step "${name}" (${does}) does not keep rows apart`;
    if ('model' in run && run.model.each) return `step "${name}" runs its rows one by one`;
  }
  return undefined;
}
