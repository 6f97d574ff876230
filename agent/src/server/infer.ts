// `POST …/infer` of the Open Inference Protocol, JSON form.
import { AppError, parseJson } from '@edgeloop/shared/errors';
import { Datatype, Shape } from '@edgeloop/shared/tensors';
import type { Context } from 'hono';
import { z } from 'zod';
import type { ModelLease } from '../inference/engine.ts';
import { type NamedTensor, tensorFromJson, tensorToJson } from '../inference/tensors.ts';
import { type Call, type CallDeps, handleCall } from './call.ts';

const Parameters = z.record(z.string(), z.unknown()).optional();

/** `data` is checked with its datatype, not here: it may have millions of elements. */
const InferRequest = z.object({
  id: z.string().max(200).optional(),
  parameters: Parameters,
  inputs: z.array(
    z.object({ name: z.string(), datatype: Datatype, shape: Shape, parameters: Parameters, data: z.unknown() }),
  ),
  outputs: z.array(z.object({ name: z.string(), parameters: Parameters })).optional(),
});
type InferRequest = z.infer<typeof InferRequest>;

/** Answers `{model_name, model_version, id, outputs}`. */
export function handleInfer(c: Context, deps: CallDeps): Promise<Response> {
  return handleCall(c, deps, (body, lease) => {
    if (c.req.header('inference-header-content-length') !== undefined) throw binaryUnsupported();
    return understand(parseJson(InferRequest, body, 'request'), lease);
  });
}

function understand(request: InferRequest, lease: ModelLease): Call {
  refuseUnsupported(request);
  const wanted = request.outputs?.map(({ name }) => name) ?? [];
  const known = lease.model.signature.outputs.map(({ name }) => name);
  const unknown = wanted.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new AppError('invalid_request', `unknown output "${unknown}"; the model has ${known.join(', ')}`);
  }
  return {
    id: request.id || undefined,
    inputs: request.inputs.map(({ name, datatype, shape, data }) => tensorFromJson({ name, datatype, shape, data })),
    answer: (id, outputs) => ({
      model_name: lease.name,
      model_version: String(lease.version),
      id,
      outputs: selected(outputs, wanted).map((output) => ({ name: output.name, ...tensorToJson(output) })),
    }),
  };
}

/** What was asked for, in that order; everything when nothing was. */
function selected(outputs: readonly NamedTensor[], wanted: readonly string[]): readonly NamedTensor[] {
  if (wanted.length === 0) return outputs;
  return wanted.flatMap((name) => outputs.find((output) => output.name === name) ?? []);
}

function refuseUnsupported({ parameters, inputs, outputs = [] }: InferRequest): void {
  if (inputs.some((input) => input.parameters?.binary_data_size !== undefined)) throw binaryUnsupported();
  if (parameters?.binary_data_output === true) throw binaryUnsupported();
  if (outputs.some((output) => output.parameters?.binary_data === true)) throw binaryUnsupported();
  if (outputs.some((output) => output.parameters?.classification !== undefined)) {
    throw new AppError('unsupported', 'the classification extension is not supported; use POST /predict/{model}');
  }
}

function binaryUnsupported(): AppError {
  return new AppError('unsupported', 'the binary tensor extension is not supported; send and ask for JSON tensors');
}
