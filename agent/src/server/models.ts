// What the Open Inference Protocol tells of the models: metadata, readiness, configuration.
import type { SequenceControl } from '@edgeloop/shared/meaning/sequence-controls';
import { madeBy, readBy } from '@edgeloop/shared/pipeline/wiring';
import type { PipelineStep } from '@edgeloop/shared/pipeline-manifest';
import type { Datatype, ModelSignature, TensorSpec } from '@edgeloop/shared/tensors';
import type { Context } from 'hono';
import type { Engine, ModelLease } from '../inference/engine.ts';
import { leaseOf } from './lease.ts';

/** `{name, versions, platform, inputs, outputs}`. */
export function handleModel(c: Context, engine: Engine): Response {
  const lease = leaseOf(c, engine);
  const answer = c.json(metadataOf(lease, engine));
  lease.release();
  return answer;
}

export function metadataOf({ name, model }: ModelLease, engine: Engine): object {
  const versions = engine.list().filter((loaded) => loaded.name === name);
  return {
    name,
    versions: versions.map(({ version }) => String(version)),
    platform: platformOf(model),
    inputs: model.signature.inputs,
    outputs: model.signature.outputs,
  };
}

/** As Triton has it. */
function platformOf({ files }: ModelLease['model']): string {
  return files.manifest.pipeline === undefined ? 'onnxruntime_onnx' : 'ensemble';
}

/** A step in the form of Triton's ensembles; what is done between models goes by the name of its operation. */
function ensembleStep(step: PipelineStep): object {
  const named = (all: readonly { field: string; tensor: string }[]) =>
    Object.fromEntries(all.map(({ field, tensor }) => [field.replace(/^(?:inputs|outputs|keep)\./, ''), tensor]));
  return {
    model_name: 'model' in step ? step.model : step.operation,
    model_version: -1,
    input_map: named(readBy(step)),
    output_map: named(madeBy(step)),
  };
}

/** 200 when the version can be asked. */
export function handleModelReady(c: Context, engine: Engine): Response {
  const { name, release } = leaseOf(c, engine);
  release();
  return c.json({ name, ready: true });
}

/** Triton's model configuration, as far as it means something here. */
export function handleConfig(c: Context, engine: Engine): Response {
  const lease = leaseOf(c, engine);
  const answer = c.json(configOf(lease));
  lease.release();
  return answer;
}

export function configOf({ name, version, model }: ModelLease): object {
  const { signature, files, runtime } = model;
  const batched = runtime.batchable;
  const { pipeline, batching } = files.manifest;
  const { maxDelayMs } = batching;
  return {
    name,
    platform: platformOf(model),
    backend: pipeline === undefined ? 'onnxruntime' : '',
    version_policy: { specific: { versions: [version] } },
    // Triton's clients read from this whether the first dimension is a batch.
    max_batch_size: batched ? files.manifest.batching.maxBatch : 0,
    input: signature.inputs.map((spec) => tensorConfig(spec, batched)),
    output: signature.outputs.map((spec) => ({
      ...tensorConfig(spec, batched),
      label_filename: '',
    })),
    instance_group: [{ name, kind: 'KIND_CPU', count: runtime.instances, gpus: [], profile: [] }],
    default_model_filename: pipeline === undefined ? 'model.onnx' : '',
    ...(pipeline === undefined ? {} : { ensemble_scheduling: { step: pipeline.steps.map(ensembleStep) } }),
    ...(batched
      ? { dynamic_batching: { preferred_batch_size: [], max_queue_delay_microseconds: Math.round(maxDelayMs * 1000) } }
      : {}),
    ...sequencesOf(model),
    ...(files.manifest.cache === undefined ? {} : { response_cache: { enable: true } }),
    parameters: {
      isolation: { string_value: files.manifest.isolation },
      ...(files.variant === undefined ? {} : { variant: { string_value: files.variant } }),
      ...leftOutOf(signature),
      // Why requests share runs, or why not.
      joining: { string_value: runtime.joining },
    },
  };
}

/** Outputs of the file that nobody can ask for, and why. */
function leftOutOf({ leftOut }: ModelSignature): object {
  if (!leftOut) return {};
  return { left_out: { string_value: leftOut.map(({ name, reason }) => `${name} ${reason}`).join('; ') } };
}

function tensorConfig({ name, datatype, shape }: TensorSpec, batched: boolean): object {
  return { name, data_type: `TYPE_${tritonType(datatype)}`, dims: batched ? shape.slice(1) : shape };
}

function tritonType(datatype: Datatype): string {
  return datatype === 'BYTES' ? 'STRING' : datatype;
}

const controlKinds = { start: 'START', end: 'END', ready: 'READY', id: 'CORRID' } as const;

/** As Triton tells of it: the values of flags by the kind of the input, the type of ids. */
function controlOf(control: SequenceControl): object {
  const { kind, spec } = control;
  const values = (of: string): readonly unknown[] => {
    if (control.kind === 'id' || valuesOf(spec.datatype) !== of) return [];
    return of === 'bool' ? control.falseTrue.map((value) => value !== 0) : control.falseTrue;
  };
  return {
    name: spec.name,
    control: [
      {
        kind: `CONTROL_SEQUENCE_${controlKinds[kind]}`,
        int32_false_true: values('int32'),
        fp32_false_true: values('fp32'),
        bool_false_true: values('bool'),
        data_type: kind === 'id' ? `TYPE_${tritonType(spec.datatype)}` : 'TYPE_INVALID',
      },
    ],
  };
}

function valuesOf(datatype: Datatype): string {
  if (datatype === 'BOOL') return 'bool';
  return datatype.startsWith('FP') ? 'fp32' : 'int32';
}

/** Where the model keeps states from request to request. */
function sequencesOf({ interpretation, signature, files }: ModelLease['model']): object {
  const { states, controls } = interpretation;
  if (states.size === 0 && controls.length === 0) return {};
  const { idleSeconds = 60 } = files.manifest.sequences ?? {};
  const state = signature.inputs.flatMap(({ name, datatype, shape }) => {
    const output = states.get(name);
    return output === undefined
      ? []
      : [{ input_name: name, output_name: output, data_type: `TYPE_${tritonType(datatype)}`, dims: shape }];
  });
  return {
    sequence_batching: {
      max_sequence_idle_microseconds: idleSeconds * 1_000_000,
      control_input: controls.map(controlOf),
      state,
    },
  };
}
