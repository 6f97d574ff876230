// Requests and answers of the Open Inference Protocol, written from its specification and apart from the agent's own
// code, so that the two check each other.
import { decodeHalf } from '@edgeloop/shared/float16';
import { request } from 'undici';

export interface WireTensor {
  name: string;
  datatype: string;
  shape: readonly number[];
  /** Row-major little-endian elements; BYTES as u32 length and bytes each. */
  bytes: Uint8Array;
}

export interface V2Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

const widths: Readonly<Record<string, number>> = {
  BOOL: 1,
  UINT8: 1,
  INT8: 1,
  UINT16: 2,
  INT16: 2,
  FP16: 2,
  UINT32: 4,
  INT32: 4,
  FP32: 4,
  UINT64: 8,
  INT64: 8,
  FP64: 8,
};

/** One element of a tensor's bytes as JSON text; 64-bit integers keep every digit. */
const readers: Readonly<Record<string, (view: DataView, at: number) => string>> = {
  BOOL: (view, at) => (view.getUint8(at) === 0 ? 'false' : 'true'),
  UINT8: (view, at) => String(view.getUint8(at)),
  INT8: (view, at) => String(view.getInt8(at)),
  UINT16: (view, at) => String(view.getUint16(at, true)),
  INT16: (view, at) => String(view.getInt16(at, true)),
  UINT32: (view, at) => String(view.getUint32(at, true)),
  INT32: (view, at) => String(view.getInt32(at, true)),
  UINT64: (view, at) => String(view.getBigUint64(at, true)),
  INT64: (view, at) => String(view.getBigInt64(at, true)),
  FP16: (view, at) => floatText(decodeHalf(view.getUint16(at, true))),
  FP32: (view, at) => floatText(view.getFloat32(at, true)),
  FP64: (view, at) => floatText(view.getFloat64(at, true)),
};

function floatText(value: number): string {
  if (Object.is(value, -0)) return '-0.0';
  return Number.isFinite(value) ? String(value) : JSON.stringify(String(value));
}

/** The elements of a tensor as JSON texts. */
export function elementTexts({ datatype, bytes }: Pick<WireTensor, 'datatype' | 'bytes'>): string[] {
  if (datatype === 'BYTES') return stringsOf(bytes).map((text) => JSON.stringify(text));
  const width = widths[datatype];
  const read = readers[datatype];
  if (width === undefined || read === undefined) throw new Error(`no such datatype: ${datatype}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.byteLength / width }, (_, i) => read(view, i * width));
}

function stringsOf(bytes: Uint8Array): string[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const texts: string[] = [];
  for (let at = 0; at < buffer.length; ) {
    const end = at + 4 + buffer.readUInt32LE(at);
    texts.push(buffer.toString('utf8', at + 4, end));
    at = end;
  }
  return texts;
}

/** Strings as the protocol's BYTES. */
export function bytesOfStrings(texts: readonly (string | Uint8Array)[]): Uint8Array {
  const parts = texts.flatMap((text) => {
    const bytes = Buffer.from(text);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return [length, bytes];
  });
  return Buffer.concat(parts);
}

/** A request body with all data in the JSON. */
export function jsonBody(inputs: readonly WireTensor[], rest: Record<string, unknown> = {}): string {
  const listed = inputs.map((input) => {
    const { name, datatype, shape } = input;
    return `${JSON.stringify({ name, datatype, shape }).slice(0, -1)},"data":[${elementTexts(input).join(',')}]}`;
  });
  const others = JSON.stringify(rest).slice(1, -1);
  return `{${others === '' ? '' : `${others},`}"inputs":[${listed.join(',')}]}`;
}

/** A request body with all data after the JSON, and the length of the JSON part. */
export function binaryBody(
  inputs: readonly WireTensor[],
  rest: Record<string, unknown> = { parameters: { binary_data_output: true } },
): { body: Buffer; jsonBytes: number } {
  const listed = inputs.map(({ name, datatype, shape, bytes }) => ({
    name,
    datatype,
    shape,
    parameters: { binary_data_size: bytes.byteLength },
  }));
  const json = Buffer.from(JSON.stringify({ ...rest, inputs: listed }));
  return { body: Buffer.concat([json, ...inputs.map(({ bytes }) => bytes)]), jsonBytes: json.length };
}

/** Sends a body to `url`; any status is an answer. */
export async function post(
  url: string,
  body: string | Buffer,
  headers: Record<string, string> = {},
): Promise<V2Answer> {
  const answer = await request(url, { method: 'POST', body, headers, bodyTimeout: 120_000, headersTimeout: 120_000 });
  const bytes = Buffer.from(await answer.body.arrayBuffer());
  return { status: answer.statusCode, headers: answer.headers, body: bytes };
}

export interface AnsweredTensor {
  name: string;
  datatype: string;
  shape: number[];
  /** Elements as JSON texts without quotes around non-finite numbers and long integers. */
  elements: string[];
}

interface AnswerJson {
  outputs: {
    name: string;
    datatype: string;
    shape: number[];
    data?: (number | string | boolean)[];
    parameters?: { binary_data_size?: number };
  }[];
}

/** The outputs of a successful answer, binary or not. Throws with the body when it is none. */
export function outputsOf(answer: V2Answer): AnsweredTensor[] {
  if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body.toString('utf8').slice(0, 500)}`);
  const header = answer.headers['inference-header-content-length'];
  const jsonBytes = header === undefined ? answer.body.length : Number(header);
  const json: AnswerJson = JSON.parse(exactIntegers(answer.body.toString('utf8', 0, jsonBytes)));
  let at = jsonBytes;
  const tensors = json.outputs.map(({ name, datatype, shape, data, parameters }) => {
    const size = parameters?.binary_data_size;
    if (size === undefined) return { name, datatype, shape, elements: (data ?? []).map(String) };
    const bytes = answer.body.subarray(at, at + size);
    if (bytes.length !== size) throw new Error(`output ${name}: ${bytes.length} of ${size} bytes came`);
    at += size;
    const texts = elementTexts({ datatype, bytes });
    const plain =
      datatype === 'BYTES' || datatype.startsWith('FP') ? texts.map((text) => String(JSON.parse(text))) : texts;
    return { name, datatype, shape, elements: plain };
  });
  if (at !== answer.body.length) throw new Error(`${answer.body.length - at} bytes are left over in the answer`);
  return tensors;
}

/** Long integers become strings before `JSON.parse` would round them. */
function exactIntegers(text: string): string {
  return text.replaceAll(/(?<=[[,:]\s*)-?\d{16,}(?=\s*[\],}])/g, '"$&"');
}
