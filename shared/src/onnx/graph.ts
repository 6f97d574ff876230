// The graph of an ONNX file: its operators with their attributes, its inputs and outputs, and of its tensors what they are
// and, where they are small, their values. Weights are skipped, so that a file of any size costs little memory.
import { AppError, messageOf } from '../app-error.ts';
import { attributeTypes } from './data-types.ts';
import { type ByteSource, type Field, FieldReader, type Place, wireTypes } from './fields.ts';
import { numbersOf, type TensorParts } from './tensor-numbers.ts';

export interface GraphModel {
  irVersion: number;
  /** Versions of the operator sets by domain; the default one is ''. */
  opsets: Map<string, number>;
  /** The file's `metadata_props`. */
  metadata: Map<string, string>;
  functions: GraphFunction[];
  graph: Graph;
}

export interface Graph {
  nodes: GraphNode[];
  initializers: GraphTensor[];
  /** Those with an initializer among them, too. */
  inputs: GraphValue[];
  outputs: GraphValue[];
}

/** An operator that the file defines itself. */
export interface GraphFunction {
  domain: string;
  name: string;
  inputs: string[];
  outputs: string[];
  nodes: GraphNode[];
  /** As in the model, which they may differ from. */
  opsets: Map<string, number>;
}

export interface GraphNode {
  opType: string;
  /** '' is the default one, also where the file writes it out. */
  domain: string;
  name: string;
  /** '' where one is left out. */
  inputs: string[];
  outputs: string[];
  attributes: Map<string, GraphAttribute>;
}

export interface GraphAttribute {
  int: number | undefined;
  float: number | undefined;
  text: string | undefined;
  tensor: GraphTensor | undefined;
  graph: Graph | undefined;
  ints: number[];
  floats: number[];
  texts: string[];
  /** A list in it is longer than is read; what came of it is there, and nothing behind it. */
  cut: boolean;
  /** In a function: the attribute of the function whose value it takes. */
  reference: string | undefined;
}

export interface GraphTensor {
  name: string;
  dims: number[];
  /** `TensorProto.DataType`; see `dataTypes`. */
  dataType: number;
  /** Of small tensors of numbers in the file itself, without halves. */
  values: readonly number[] | undefined;
}

export type ValueKind = 'tensor' | 'sequence' | 'map' | 'optional' | 'sparse' | 'unknown';

export interface GraphValue {
  name: string;
  kind: ValueKind;
  /** Of a tensor's elements; 0 when not said. */
  dataType: number;
  /** A size, the name of a free one, or undefined; no array when nothing is said of the shape. */
  dims: (number | string | undefined)[] | undefined;
}

/** Lists in attributes are read to this length, tensors to a smaller one. */
const listAtMost = 65_536;
const nodesAtMost = 500_000;

/** Reads the graph. Throws `model_rejected` for bytes that are no ONNX model, or whose graph is too large to be read. */
export function readGraph(source: ByteSource): GraphModel {
  try {
    return new GraphReader(source).model(source.size);
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    const reason = messageOf(cause);
    throw new AppError('model_rejected', `the file is not a readable ONNX model: ${reason}`, { cause });
  }
}

class GraphReader {
  readonly #fields: FieldReader;
  #nodes = 0;

  constructor(source: ByteSource) {
    this.#fields = new FieldReader(source);
  }

  model(size: number): GraphModel {
    const model: GraphModel = {
      irVersion: 0,
      opsets: new Map(),
      metadata: new Map(),
      functions: [],
      graph: emptyGraph(),
    };
    this.#fields.message({ start: 0, end: size }, (field) => {
      if (field.id === 1) model.irVersion = field.value;
      else if (!isMessage(field)) return;
      // A graph that comes again adds to the first, as protobuf has it.
      else if (field.id === 7) this.#graph(field, model.graph);
      else if (field.id === 8) this.#opset(field, model.opsets);
      else if (field.id === 14) this.#entry(field, model.metadata);
      else if (field.id === 25) model.functions.push(this.#function(field));
    });
    return model;
  }

  #graph(place: Place, graph: Graph): void {
    this.#fields.message(place, (field) => {
      if (!isMessage(field)) return;
      if (field.id === 1) graph.nodes.push(this.#node(field));
      else if (field.id === 5) graph.initializers.push(tensorOf(this.#tensor(field, emptyTensor())));
      else if (field.id === 11) graph.inputs.push(this.#value(field));
      else if (field.id === 12) graph.outputs.push(this.#value(field));
      else if (field.id === 15) graph.initializers.push(this.#sparse(field));
    });
  }

  #node(place: Place): GraphNode {
    if (++this.#nodes > nodesAtMost)
      throw new AppError('model_rejected', `the model has more than ${nodesAtMost} operators`);
    const node: GraphNode = { opType: '', domain: '', name: '', inputs: [], outputs: [], attributes: new Map() };
    this.#fields.message(place, (field) => {
      if (!isMessage(field)) return;
      if (field.id === 5) {
        const { name, attribute } = this.#attribute(field);
        node.attributes.set(name, attribute);
      } else if (field.id === 1) node.inputs.push(this.#fields.string(field));
      else if (field.id === 2) node.outputs.push(this.#fields.string(field));
      else if (field.id === 3) node.name = this.#fields.string(field);
      else if (field.id === 4) node.opType = this.#fields.string(field);
      else if (field.id === 7) node.domain = domainOf(this.#fields.string(field));
    });
    return node;
  }

  #function(place: Place): GraphFunction {
    const made: GraphFunction = { domain: '', name: '', inputs: [], outputs: [], nodes: [], opsets: new Map() };
    this.#fields.message(place, (field) => {
      if (!isMessage(field)) return;
      if (field.id === 1) made.name = this.#fields.string(field);
      else if (field.id === 4) made.inputs.push(this.#fields.string(field));
      else if (field.id === 5) made.outputs.push(this.#fields.string(field));
      else if (field.id === 7) made.nodes.push(this.#node(field));
      else if (field.id === 9) this.#opset(field, made.opsets);
      else if (field.id === 10) made.domain = domainOf(this.#fields.string(field));
    });
    return made;
  }

  #attribute(place: Place): { name: string; attribute: GraphAttribute } {
    let name = '';
    const attribute = emptyAttribute();
    let tensor: TensorParts | undefined;
    let type = 0;
    const take = (field: Field): void => {
      const { id, value } = field;
      if (id === 1) name = this.#fields.string(field);
      else if (id === 2 && field.wireType === wireTypes.fixed32) attribute.float = this.#fields.float(field);
      else if (id === 3) attribute.int = value;
      else if (id === 20) type = value;
      else if (id === 7) this.#floats(field, attribute);
      else if (id === 8 && isMessage(field))
        this.#fields.packed(field, (each) => keep(attribute, attribute.ints, each));
      else if (id === 8) keep(attribute, attribute.ints, value);
      else if (!isMessage(field)) return;
      else if (id === 4) attribute.text = this.#fields.string(field);
      else if (id === 5) {
        tensor ??= emptyTensor();
        this.#tensor(field, tensor);
      } else if (id === 6) {
        attribute.graph ??= emptyGraph();
        this.#graph(field, attribute.graph);
      } else if (id === 9) keep(attribute, attribute.texts, this.#fields.string(field));
      else if (id === 21) attribute.reference = this.#fields.string(field);
    };
    this.#fields.message(place, take, () => attribute.cut);
    if (tensor) attribute.tensor = tensorOf(tensor);
    // A value that is nothing may be left unwritten.
    if (type === attributeTypes.int) attribute.int ??= 0;
    else if (type === attributeTypes.float) attribute.float ??= 0;
    else if (type === attributeTypes.text) attribute.text ??= '';
    return { name, attribute };
  }

  /** One, or many in one field. */
  #floats(field: Field, attribute: GraphAttribute): void {
    const bytes = this.#fields.bytes({
      start: field.start,
      end: Math.min(field.end, field.start + listAtMost * 4 + 4),
    });
    const view = new DataView(bytes.buffer);
    for (let at = 0; at + 4 <= bytes.length; at += 4) keep(attribute, attribute.floats, view.getFloat32(at, true));
  }

  /** Adds to `tensor`: a tensor that comes again adds to the first, as protobuf has it. */
  #tensor(place: Place, tensor: TensorParts): TensorParts {
    this.#fields.message(place, (field) => {
      const { id } = field;
      if (id === 1) this.#sizes(field, tensor.dims);
      else if (id === 2) tensor.dataType = field.value;
      else if (id === 8) tensor.name = this.#fields.string(field);
      // Where it lies in another file.
      else if (id === 13 || (id === 14 && field.value !== 0)) tensor.unread = true;
      else if (id >= 4 && id <= 11) this.#data(field, tensor);
    });
    return tensor;
  }

  #data(field: Field, tensor: TensorParts): void {
    const many = field.end - field.start > tensorBytesAtMost || tensor.data.length >= tensorFieldsAtMost;
    if (many) tensor.unread = true;
    else tensor.data.push({ id: field.id, bytes: this.#fields.bytes(field), value: field.value });
  }

  #sizes(field: Field, dims: number[]): void {
    if (isMessage(field)) this.#fields.packed(field, (dim) => dims.push(dim));
    else dims.push(field.value);
    if (dims.length > dimsAtMost) throw new RangeError(`a tensor has more than ${dimsAtMost} dimensions`);
  }

  #sparse(place: Place): GraphTensor {
    const tensor = emptyTensor();
    const dims: number[] = [];
    this.#fields.message(place, (field) => {
      if (field.id === 1 && isMessage(field)) this.#tensor(field, tensor);
      else if (field.id === 3) this.#sizes(field, dims);
    });
    return { name: tensor.name, dims, dataType: tensor.dataType, values: undefined };
  }

  #value(place: Place): GraphValue {
    const made: GraphValue = { name: '', kind: 'unknown', dataType: 0, dims: undefined };
    this.#fields.message(place, (field) => {
      if (field.id === 1) made.name = this.#fields.string(field);
      else if (field.id === 2 && isMessage(field)) this.#type(field, made);
    });
    return made;
  }

  #type(place: Place, made: GraphValue): void {
    this.#fields.message(place, (field) => {
      made.kind = valueKinds.get(field.id) ?? made.kind;
      if (field.id !== 1) return;
      this.#fields.message(field, (part) => {
        if (part.id === 1) made.dataType = part.value;
        else if (part.id === 2) made.dims = this.#dims(part);
      });
    });
  }

  #dims(place: Place): GraphValue['dims'] {
    const dims: (number | string | undefined)[] = [];
    this.#fields.message(place, (field) => {
      if (field.id !== 1 || !isMessage(field)) return;
      let dim: number | string | undefined;
      this.#fields.message(field, (part) => {
        if (part.id === 1) dim = part.value;
        else if (part.id === 2) dim = this.#fields.string(part);
      });
      dims.push(dim);
    });
    return dims;
  }

  #opset(place: Place, opsets: Map<string, number>): void {
    let domain = '';
    let version = 0;
    this.#fields.message(place, (field) => {
      if (field.id === 1) domain = domainOf(this.#fields.string(field));
      else if (field.id === 2) version = field.value;
    });
    opsets.set(domain, version);
  }

  #entry(place: Place, entries: Map<string, string>): void {
    let key = '';
    let value = '';
    this.#fields.message(place, (field) => {
      if (field.id === 1) key = this.#fields.string(field);
      // Free text of any length; what is long is no setting.
      else if (field.id === 2 && field.end - field.start < textAtMost) value = this.#fields.string(field);
    });
    entries.set(key, value);
  }
}

/** `ai.onnx` is the default domain's other name. */
function domainOf(name: string): string {
  return name === 'ai.onnx' ? '' : name;
}

const valueKinds = new Map<number, ValueKind>([
  [1, 'tensor'],
  [4, 'sequence'],
  [5, 'map'],
  [8, 'sparse'],
  [9, 'optional'],
]);
const tensorBytesAtMost = 8192;
const tensorFieldsAtMost = 1024;
const dimsAtMost = 256;
const textAtMost = 65_536;

function isMessage({ wireType }: Field): boolean {
  return wireType === wireTypes.bytes;
}

function keep<T>(attribute: GraphAttribute, list: T[], value: T): void {
  if (list.length < listAtMost) list.push(value);
  else attribute.cut = true;
}

function tensorOf(parts: TensorParts): GraphTensor {
  const { name, dims, dataType } = parts;
  return { name, dims, dataType, values: numbersOf(parts) };
}

function emptyGraph(): Graph {
  return { nodes: [], initializers: [], inputs: [], outputs: [] };
}

function emptyTensor(): TensorParts {
  return { name: '', dims: [], dataType: 0, data: [], unread: false };
}

function emptyAttribute(): GraphAttribute {
  const none = { int: undefined, float: undefined, text: undefined, tensor: undefined, graph: undefined };
  return { ...none, ints: [], floats: [], texts: [], cut: false, reference: undefined };
}
