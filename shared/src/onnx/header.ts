// Reads what an ONNX file says about itself without loading it: the registry needs the opset, and must refuse files
// that name other files, before any runtime touches them. Walks the protobuf fields and skips everything else, so it
// needs next to no memory whatever the file holds, and sees also what a later repetition of a field would hide.

import protobuf from 'protobufjs/light.js';
import { AppError, messageOf } from '../errors.ts';

/**
 * `opset`: version of the default operator set, undefined when the file uses others only. `inputs`: names of the graph's inputs without those that have an
 * initializer. `externalDataLocations`: what each tensor kept outside the file calls its place, wherever in the file
 * it is (initializers, sparse ones, attributes of nodes, subgraphs, functions, training graphs), without repeats; ''
 * when it names none.
 */
export interface ModelHeader {
  opset: number | undefined;
  irVersion: number;
  producer: { name: string; version: string };
  inputs: string[];
  outputs: string[];
  externalDataLocations: string[];
}

/** Fields of interest of one kind of message, by their number: messages inside, strings, varints. */
interface Shape {
  messages?: Readonly<Record<number, Kind>>;
  texts?: Readonly<Record<number, string>>;
  numbers?: Readonly<Record<number, string>>;
}
type Kind =
  | ('model' | 'mainGraph' | 'graph' | 'node' | 'attribute' | 'function' | 'training' | 'sparse' | 'tensor')
  | ('initializer' | 'entry' | 'input' | 'output' | 'opset');
type Values = Record<string, string | number>;

const tensor: Shape = { messages: { 13: 'entry' }, texts: { 8: 'name' }, numbers: { 14: 'dataLocation' } };
const graph = { 1: 'node', 5: 'tensor', 15: 'sparse' } as const;
const named: Shape = { texts: { 1: 'name' } };

/** Numbers from onnx.proto3. */
const shapes: Readonly<Record<Kind, Shape>> = {
  model: {
    messages: { 7: 'mainGraph', 8: 'opset', 20: 'training', 25: 'function' },
    texts: { 2: 'producerName', 3: 'producerVersion' },
    numbers: { 1: 'irVersion' },
  },
  mainGraph: { messages: { ...graph, 5: 'initializer', 11: 'input', 12: 'output' } },
  graph: { messages: graph },
  node: { messages: { 5: 'attribute' } },
  attribute: { messages: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' } },
  function: { messages: { 7: 'node', 11: 'attribute' } },
  training: { messages: { 1: 'graph', 2: 'graph' } },
  sparse: { messages: { 1: 'tensor', 2: 'tensor' } },
  tensor,
  initializer: tensor,
  entry: { texts: { 1: 'key', 2: 'value' } },
  input: named,
  output: named,
  opset: { texts: { 1: 'domain' }, numbers: { 2: 'version' } },
};

const wireTypes = { varint: 0, bytes: 2 } as const;
/** Protobuf's own default, which ONNX Runtime keeps to as well. */
const deepestMessage = 100;
/** `TensorProto.DataLocation.EXTERNAL`. */
const external = 1;

interface Found {
  opset: number | undefined;
  opsets: number;
  graphs: number;
  inputs: string[];
  outputs: string[];
  constants: Set<string>;
  locations: Set<string>;
}

/**
 * Reads the header of an ONNX file. Throws `model_rejected` for bytes that are no ONNX model, are cut short, or nest
 * deeper than protobuf allows (100 messages, about 30 subgraphs).
 */
export function readModelHeader(bytes: Uint8Array): ModelHeader {
  const found: Found = {
    opset: undefined,
    opsets: 0,
    graphs: 0,
    inputs: [],
    outputs: [],
    constants: new Set(),
    locations: new Set(),
  };
  const model = walkFile(bytes, found);
  const irVersion = Number(model.irVersion ?? 0);
  if (irVersion < 1 || found.graphs === 0) throw rejected('it has no IR version or no graph');
  if (found.outputs.length === 0) throw rejected('its graph has no outputs');
  if (found.opsets === 0) throw rejected('it names no version of any operator set');
  return {
    opset: found.opset,
    irVersion,
    producer: { name: String(model.producerName ?? ''), version: String(model.producerVersion ?? '') },
    inputs: found.inputs.filter((name) => !found.constants.has(name)),
    outputs: found.outputs,
    externalDataLocations: [...found.locations],
  };
}

function walkFile(bytes: Uint8Array, found: Found): Values {
  const reader = protobuf.Reader.create(bytes);
  try {
    return walk({ reader, end: bytes.length, depth: 0, kind: 'model' }, found);
  } catch (cause) {
    throw rejected(`it is cut short or is something else (${messageOf(cause)})`, cause);
  }
}

function rejected(reason: string, cause?: unknown): AppError {
  return new AppError('model_rejected', `the file is not a readable ONNX model: ${reason}; upload a whole .onnx file`, {
    cause,
  });
}

interface Place {
  reader: protobuf.Reader;
  end: number;
  depth: number;
  kind: Kind;
}

/** Reads one message up to `end` and gives its strings and numbers; what matters of inner messages goes to `found`. */
function walk({ reader, end, depth, kind }: Place, found: Found): Values {
  if (depth > deepestMessage) throw new RangeError(`messages nest deeper than ${deepestMessage}`);
  const { messages, texts, numbers } = shapes[kind];
  const values: Values = {};
  while (reader.pos < end) {
    const tag = reader.tag();
    const wireType = tag & 7;
    const id = tag >>> 3;
    const inner = wireType === wireTypes.bytes ? messages?.[id] : undefined;
    const text = wireType === wireTypes.bytes ? texts?.[id] : undefined;
    const number = wireType === wireTypes.varint ? numbers?.[id] : undefined;
    if (inner !== undefined) {
      const size = reader.size();
      const innerEnd = reader.pos + size;
      if (innerEnd > end) throw new RangeError(`a field of ${size} bytes at ${reader.pos} goes past its message`);
      const content = walk({ reader, end: innerEnd, depth: depth + 1, kind: inner }, found);
      note(inner, content, { parent: values, found });
    } else if (text !== undefined) values[text] = reader.string();
    else if (number !== undefined) values[number] = reader.uint32();
    else reader.skipType(wireType, depth, id);
  }
  if (reader.pos !== end) throw new RangeError(`a field goes past the end of its message at ${end}`);
  return values;
}

/** Takes up what a message that was read to its end says. */
function note(kind: Kind, values: Values, { parent, found }: { parent: Values; found: Found }): void {
  const name = String(values.name ?? '');
  if (kind === 'mainGraph') found.graphs += 1;
  else if (kind === 'input') found.inputs.push(name);
  else if (kind === 'output') found.outputs.push(name);
  else if (kind === 'opset') {
    found.opsets += 1;
    if (['', 'ai.onnx'].includes(String(values.domain ?? ''))) found.opset = Number(values.version ?? 0);
  } else if (kind === 'entry') {
    // A tensor that lists places without saying EXTERNAL is odd enough to be treated as if it did.
    parent.listsPlaces = 1;
    if (values.key === 'location') parent.place = values.value ?? '';
  } else if (kind === 'tensor' || kind === 'initializer') {
    if (values.dataLocation === external || values.listsPlaces === 1) found.locations.add(String(values.place ?? ''));
    if (kind === 'initializer') found.constants.add(name);
  }
}
