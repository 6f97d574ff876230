// The body of an inference answer, as bytes: JSON, and blobs of the outputs that were asked for in binary.
import { AppError } from '@edgeloop/shared/errors';
import { decodeHalf } from '@edgeloop/shared/float16';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import { encodeBlob } from './binary.ts';
import { classify } from './classification.ts';
import type { Parameters } from './fields.ts';
import { singlesText } from './float-text.ts';
import type { InferRequest, RequestedOutput } from './request.ts';

export interface AnswerBody {
  body: string | Buffer;
  /** Length of the JSON part when something behind it is binary. */
  jsonBytes: number | undefined;
}

export interface Answered {
  name: string;
  version: number;
  id: string;
  request: InferRequest;
  outputs: readonly NamedTensor[];
  /** Class names of the output that holds scores. */
  scores: { output: string | undefined; labels: readonly string[] | undefined } | undefined;
}

/** Throws `invalid_request` when an output was asked for in a form that it hasn't. */
export function writeAnswer({ name, version, id, request, outputs, scores }: Answered): AnswerBody {
  const blobs: Buffer[] = [];
  const allBinary = request.parameters.get('binary_data_output') === true;
  const echoed = echoedParameters(request.parameters);
  const parameters = echoed === undefined ? '' : `"parameters":${echoed},`;
  const start = `{"model_name":${quoted(name)},"model_version":"${version}","id":${quoted(id)},`;
  const json: Text = [`${start}${parameters}"outputs":[`];
  let comma = '';
  for (const { output, asked } of selected(outputs, request.outputs)) {
    const tensor = asAsked(output, asked, scores);
    const head = `${comma}{"name":${quoted(tensor.name)},"datatype":"${tensor.datatype}","shape":[${tensor.shape}],`;
    if (asked?.binary_data ?? allBinary) {
      const blob = encodeBlob(tensor);
      blobs.push(blob);
      json.push(`${head}"parameters":{"binary_data_size":${blob.length}}}`);
    } else json.push(`${head}"data":[`, elementsText(tensor), ']}');
    comma = ',';
  }
  json.push(']}');
  if (blobs.length === 0) return { body: joinedText(json), jsonBytes: undefined };
  const jsonPart = Buffer.from(joinedText(json));
  return { body: Buffer.concat([jsonPart, ...blobs]), jsonBytes: jsonPart.length };
}

/** The output, or its best classes where those were asked for. Throws `invalid_request`. */
export function asAsked(
  output: NamedTensor,
  asked: RequestedOutput['parameters'],
  scores: Answered['scores'],
): NamedTensor {
  const k = asked?.classification ?? 0;
  return k > 0 ? classify(output, k, scores?.output === output.name ? scores.labels : undefined) : output;
}

/** As JSON.stringify writes it; most names need nothing but the quotes. */
function quoted(name: string): string {
  return plain.test(name) ? `"${name}"` : JSON.stringify(name);
}

const plain = /^[\w./:-]*$/;

/** Text in pieces; long ones as their bytes. */
type Text = (string | Buffer)[];

function joinedText(pieces: Text): string | Buffer {
  let text = '';
  for (const piece of pieces) {
    if (typeof piece !== 'string') return joinedBytes(pieces);
    text += piece;
  }
  return text;
}

function joinedBytes(pieces: Text): Buffer {
  return Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece) : piece)));
}

/** Throws `invalid_request` for outputs that the model hasn't. */
export function checkOutputs(asked: readonly RequestedOutput[], known: readonly { name: string }[]): void {
  const unknown = asked.find(({ name }) => !known.some((output) => output.name === name));
  if (!unknown) return;
  const names = known.map(({ name }) => name).join(', ');
  throw new AppError('invalid_request', `unknown output "${unknown.name}"; the model has ${names}`);
}

/** What was asked for, in that order; everything when nothing was. */
export function selected(
  outputs: readonly NamedTensor[],
  asked: readonly RequestedOutput[],
): { output: NamedTensor; asked?: RequestedOutput['parameters'] }[] {
  if (asked.length === 0) return outputs.map((output) => ({ output }));
  return asked.flatMap(({ name, parameters }) => {
    const output = outputs.find((candidate) => candidate.name === name);
    return output ? [{ output, asked: parameters }] : [];
  });
}

const reserved = new Set([
  'sequence_id',
  'sequence_start',
  'sequence_end',
  'priority',
  'timeout',
  'headers',
  'binary_data_output',
]);

/** Whether a parameter is the caller's own, and so comes back; those that steer the server don't. */
export function isEchoed(name: string): boolean {
  return !reserved.has(name) && !name.startsWith('triton_');
}

function echoedParameters(parameters: Parameters): string | undefined {
  if (parameters.size === 0) return undefined;
  const own = [...parameters].filter(([name]) => isEchoed(name));
  return own.length === 0 ? undefined : JSON.stringify(Object.fromEntries(own));
}

function elementsText({ datatype, data }: NamedTensor): string | Buffer {
  if (Array.isArray(data)) return data.map((text) => JSON.stringify(text)).join(',');
  // 64-bit integers keep all their digits: a JSON number has no bound.
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return data.join(',');
  if (data instanceof Float32Array) return singlesText(data);
  if (data instanceof Float64Array) return joined(data, floatText);
  if (datatype === 'BOOL') return joined(data, (value) => (value === 0 ? 'false' : 'true'));
  if (datatype === 'FP16' && data instanceof Uint16Array) return singlesText(Float32Array.from(data, decodeHalf));
  return data.join(',');
}

function joined(data: ArrayLike<number>, write: (value: number) => string): string {
  let text = '';
  for (let i = 0; i < data.length; i++) {
    const value = data[i];
    if (value !== undefined) text += i === 0 ? write(value) : `,${write(value)}`;
  }
  return text;
}

function floatText(value: number): string {
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0';
  return Number.isFinite(value) ? String(value) : `"${value}"`;
}
