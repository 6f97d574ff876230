// A process that runs backend cases in onnxruntime-node without any server; a case may end it.
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { type AnsweredTensor, elementTexts, type WireTensor } from '../../support/v2.ts';
import { type BackendCase, difference, type Signature, samplesOf } from './cases.ts';

export type RawResult =
  | { kind: 'passes'; signature: Signature }
  | { kind: 'not-tensors'; reason: string }
  | { kind: 'fails'; reason: string };

const types: readonly [string, Tensor.Type, (buffer: ArrayBuffer) => Tensor.DataType][] = [
  ['FP32', 'float32', (buffer) => new Float32Array(buffer)],
  ['FP64', 'float64', (buffer) => new Float64Array(buffer)],
  ['FP16', 'float16', (buffer) => new Uint16Array(buffer)],
  ['BOOL', 'bool', (buffer) => new Uint8Array(buffer)],
  ['UINT8', 'uint8', (buffer) => new Uint8Array(buffer)],
  ['INT8', 'int8', (buffer) => new Int8Array(buffer)],
  ['UINT16', 'uint16', (buffer) => new Uint16Array(buffer)],
  ['INT16', 'int16', (buffer) => new Int16Array(buffer)],
  ['UINT32', 'uint32', (buffer) => new Uint32Array(buffer)],
  ['INT32', 'int32', (buffer) => new Int32Array(buffer)],
  ['UINT64', 'uint64', (buffer) => new BigUint64Array(buffer)],
  ['INT64', 'int64', (buffer) => new BigInt64Array(buffer)],
];

function toOrt({ datatype, shape, bytes }: WireTensor): Tensor {
  if (datatype === 'BYTES') return new Tensor('string', elementTexts({ datatype, bytes }).map(plain), shape);
  const entry = types.find(([name]) => name === datatype);
  if (entry === undefined) throw new Error(`no tensor of ${datatype}`);
  return new Tensor(entry[1], entry[2](Uint8Array.from(bytes).buffer), shape);
}

const plain = (json: string): string => String(JSON.parse(json));

function fromOrt(name: string, tensor: Tensor): AnsweredTensor {
  const { data, type } = tensor;
  const shape = [...tensor.dims];
  if (Array.isArray(data)) return { name, datatype: 'BYTES', shape, elements: data };
  const datatype = types.find(([, ort]) => ort === type)?.[0] ?? type;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const texts = elementTexts({ datatype, bytes });
  return { name, datatype, shape, elements: datatype.startsWith('FP') ? texts.map(plain) : texts };
}

async function runCase(each: BackendCase): Promise<RawResult> {
  const session = await InferenceSession.create(each.modelPath, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 4,
  });
  const signature: Signature = {
    inputs: session.inputMetadata.map((value) => ({
      name: value.name,
      isTensor: value.isTensor,
      shape: value.isTensor ? value.shape : [],
    })),
    outputs: session.outputMetadata.map(({ name, isTensor }) => ({ name, isTensor })),
  };
  const other = [...signature.inputs, ...signature.outputs].find(({ isTensor }) => !isTensor);
  if (other !== undefined) return { kind: 'not-tensors', reason: `"${other.name}" is no tensor` };
  for (const { inputs, outputs } of samplesOf(each, signature)) {
    const results = await session.run(Object.fromEntries(inputs.map((input) => [input.name, toOrt(input)])));
    const actual = Object.entries(results).map(([name, value]) => fromOrt(name, value));
    const reason = difference(actual, outputs);
    if (reason !== undefined) return { kind: 'fails', reason };
  }
  await session.release();
  return { kind: 'passes', signature };
}

process.on('message', (each: BackendCase) => {
  runCase(each).then(
    (result) => process.send?.(result),
    (error: unknown) => process.send?.({ kind: 'fails', reason: String(error).replaceAll(/\s+/g, ' ').slice(0, 300) }),
  );
});
