// ONNX files without the outputs that cannot be served: maps, sequences and optionals. A ZipMap, which makes a list of maps
// of the scores of a classifier, gives way to the tensor that went into it, under the name of the output.
import type { Writer } from 'protobufjs/light.js';
import { type Field, FieldReader, type Place, sourceOf, wireTypes } from './fields.ts';
import type { ZipMaps } from './unservable-outputs.ts';

export interface Cut {
  zipMaps: ZipMaps;
  /** Outputs to leave out. */
  leftOut: ReadonlySet<string>;
}

/** Of a message. */
type Begin = () => Writer;

/** Numbers from onnx.proto3. */
const modelFields = { graph: 7, opset: 8 } as const;
const graphFields = { node: 1, output: 12 } as const;
/** For files that name no version of the default operators: one that every ONNX Runtime of ours knows. */
const identityOpset = 13;

/** The bytes of an ONNX file after the cut. Throws RangeError for what is no such file. */
export async function cutOutputs(bytes: Uint8Array, cut: Cut): Promise<Uint8Array> {
  // Most files need no cut, and then no thread loads the library for it.
  const { default: protobuf } = await import('protobufjs/light.js');
  const begin: Begin = () => protobuf.Writer.create();
  const reader = new FieldReader(sourceOf(bytes));
  const model = begin();
  let hasDefaultOpset = false;
  reader.message({ start: 0, end: bytes.length }, (field) => {
    if (field.id === modelFields.opset) hasDefaultOpset ||= isDefaultOpset(reader, field);
    if (field.id === modelFields.graph) write(model, field.id, cutGraph({ bytes, place: field, cut, begin }));
    else copy(model, bytes, field);
  });
  if (cut.zipMaps.size > 0 && !hasDefaultOpset) {
    model.uint32(tagOf(modelFields.opset)).fork().uint32(10).string('').uint32(16).int32(identityOpset).ldelim();
  }
  return model.finish();
}

interface GraphCut {
  bytes: Uint8Array;
  place: Place;
  cut: Cut;
  begin: Begin;
}

function cutGraph({ bytes, place, cut: { zipMaps, leftOut }, begin }: GraphCut): Uint8Array {
  const reader = new FieldReader(sourceOf(bytes));
  const graph = begin();
  reader.message(place, (field) => {
    if (field.id === graphFields.node) {
      const zipped = textsOf(reader, field, 2).find((output) => zipMaps.has(output));
      if (zipped === undefined) copy(graph, bytes, field);
      else write(graph, field.id, identity(begin(), zipMaps.get(zipped) ?? '', zipped));
    } else if (field.id === graphFields.output) {
      const [name = ''] = textsOf(reader, field, 1);
      // Without a type: ONNX Runtime infers it from the tensor.
      if (zipMaps.has(name)) write(graph, field.id, begin().uint32(10).string(name).finish());
      else if (!leftOut.has(name)) copy(graph, bytes, field);
    } else copy(graph, bytes, field);
  });
  return graph.finish();
}

function identity(node: Writer, input: string, output: string): Uint8Array {
  return node.uint32(10).string(input).uint32(18).string(output).uint32(34).string('Identity').finish();
}

function isDefaultOpset(reader: FieldReader, field: Field): boolean {
  const [domain = ''] = textsOf(reader, field, 1);
  return domain === '' || domain === 'ai.onnx';
}

/** The texts of a field of a message. */
function textsOf(reader: FieldReader, message: Place, id: number): string[] {
  const texts: string[] = [];
  reader.message(message, (field) => {
    if (field.id === id && field.wireType === wireTypes.bytes) texts.push(reader.string(field));
  });
  return texts;
}

function tagOf(id: number): number {
  return id * 8 + wireTypes.bytes;
}

function write(writer: Writer, id: number, message: Uint8Array): void {
  writer.uint32(tagOf(id)).bytes(message);
}

function copy(writer: Writer, bytes: Uint8Array, { id, wireType, value, start, end }: Field): void {
  writer.uint32(id * 8 + wireType);
  if (wireType === wireTypes.varint) writer.int64(value);
  else if (wireType === wireTypes.bytes) writer.bytes(bytes.subarray(start, end));
  else throw new RangeError(`a field ${id} of the unknown kind ${wireType}`);
}
