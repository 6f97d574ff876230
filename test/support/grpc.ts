// A client of the inference port's gRPC, written from the protocol's field numbers and apart from the agent's own code, so
// that the two check each other. Messages are lists of numbered fields.
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import protobuf from 'protobufjs/light.js';
import { type AnsweredTensor, elementTexts, type WireTensor } from './v2.ts';

/** Whole numbers and truth values are varints; texts, bytes and messages come with their length. */
export type Field = [number: number, value: string | Uint8Array | number | bigint | boolean | Field[]];
export type Fields = ReadonlyMap<number, readonly (bigint | Buffer)[]>;

interface CallOptions {
  headers?: Record<string, string>;
  timeoutMs?: number;
}

interface GrpcStream {
  send(fields: readonly Field[]): void;
  end(): void;
  cancel(): void;
  /** What came so far. */
  answers: Fields[];
  /** Resolves at the end with undefined, or with why it broke off. */
  ended: Promise<unknown>;
}

export interface GrpcClient {
  /** Rejects with the `ServiceError` of grpc-js. `method` alone is one of the inference service. */
  call(method: string, fields?: readonly Field[] | Uint8Array, options?: CallOptions): Promise<Fields>;
  stream(options?: CallOptions): GrpcStream;
  close(): void;
}

const service = '/inference.GRPCInferenceService/';

export function grpcClient(port: number): GrpcClient {
  const unbounded = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 };
  // Else calls of one process share connections, and wait for one that was lost as long as others do.
  const own = { 'grpc.use_local_subchannel_pool': 1, 'grpc.initial_reconnect_backoff_ms': 100 };
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { ...unbounded, ...own });
  const same = (bytes: Buffer): Buffer => bytes;
  return {
    call(method, fields = [], { headers = {}, timeoutMs } = {}) {
      const path = method.startsWith('/') ? method : service + method;
      const bytes = fields instanceof Uint8Array ? Buffer.from(fields) : encodeFields(fields);
      const options = timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
      return new Promise((resolve, reject) => {
        client.makeUnaryRequest(path, same, same, bytes, metadataOf(headers), options, (error, answer) => {
          if (error) reject(error);
          else resolve(decodeFields(answer ?? Buffer.alloc(0)));
        });
      });
    },
    stream({ headers = {} } = {}) {
      const call = client.makeBidiStreamRequest(`${service}ModelStreamInfer`, same, same, metadataOf(headers));
      const answers: Fields[] = [];
      call.on('data', (bytes: Buffer) => answers.push(decodeFields(bytes)));
      const ended = new Promise((resolve) => {
        call.on('end', () => resolve(undefined));
        call.on('error', resolve);
      });
      return {
        send: (fields) => void call.write(encodeFields(fields)),
        end: () => call.end(),
        cancel: () => call.cancel(),
        answers,
        ended,
      };
    },
    close: () => client.close(),
  };
}

function metadataOf(headers: Record<string, string>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  return metadata;
}

export function encodeFields(fields: readonly Field[]): Buffer {
  const writer = protobuf.Writer.create();
  for (const [number, value] of fields) {
    if (typeof value === 'boolean') writer.uint32(number << 3).bool(value);
    else if (typeof value === 'number' || typeof value === 'bigint') writer.uint32(number << 3).int64(String(value));
    else {
      writer.uint32((number << 3) | 2);
      if (typeof value === 'string') writer.string(value);
      else writer.bytes(Array.isArray(value) ? encodeFields(value) : value);
    }
  }
  return Buffer.from(writer.finish());
}

/** Varints as integers, all else as bytes. */
function decodeFields(bytes: Uint8Array): Fields {
  const reader = protobuf.Reader.create(Buffer.from(bytes));
  const fields = new Map<number, (bigint | Buffer)[]>();
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    const start = reader.pos;
    let value: bigint | Buffer;
    if ((tag & 7) === 0) value = BigInt(String(reader.int64()));
    else if ((tag & 7) === 2) value = Buffer.from(reader.bytes());
    else {
      reader.skipType(tag & 7);
      value = Buffer.from(bytes.subarray(start, reader.pos));
    }
    const known = fields.get(tag >>> 3);
    if (known) known.push(value);
    else fields.set(tag >>> 3, [value]);
  }
  return fields;
}

export function textIn(fields: Fields, number: number): string {
  return String(fields.get(number)?.[0] ?? '');
}

export function messagesIn(fields: Fields, number: number): Fields[] {
  return (fields.get(number) ?? []).flatMap((value) => (Buffer.isBuffer(value) ? [decodeFields(value)] : []));
}

/** Packed or not. */
export function integersIn(fields: Fields, number: number): bigint[] {
  return (fields.get(number) ?? []).flatMap((value) => {
    if (!Buffer.isBuffer(value)) return [value];
    const reader = protobuf.Reader.create(value);
    const all: bigint[] = [];
    while (reader.pos < reader.len) all.push(BigInt(String(reader.int64())));
    return all;
  });
}

/** A ModelInferRequest with raw contents. `rest` are further fields. */
export function inferFields(model: string, inputs: readonly WireTensor[], rest: readonly Field[] = []): Field[] {
  return [
    [1, model],
    ...rest,
    ...inputs.map(({ name, datatype, shape }): Field => [5, headFields(name, datatype, shape)]),
    ...inputs.map(({ bytes }): Field => [7, bytes]),
  ];
}

export function headFields(name: string, datatype: string, shape: readonly number[]): Field[] {
  return [[1, name], [2, datatype], ...shape.map((dim): Field => [3, dim])];
}

/** The raw outputs of a ModelInferResponse. */
export function rawOutputsOf(answer: Fields): AnsweredTensor[] {
  const blobs = answer.get(6) ?? [];
  return messagesIn(answer, 5).map((output, place) => {
    const bytes = blobs[place];
    const name = textIn(output, 1);
    const datatype = textIn(output, 2);
    if (!Buffer.isBuffer(bytes)) throw new Error(`output ${name} has no raw contents`);
    const texts = elementTexts({ datatype, bytes });
    const isText = datatype === 'BYTES' || datatype.startsWith('FP');
    const elements = isText ? texts.map((text) => String(JSON.parse(text))) : texts;
    return { name, datatype, shape: integersIn(output, 3).map(Number), elements };
  });
}
