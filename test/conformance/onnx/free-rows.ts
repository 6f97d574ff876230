// The same model with a first dimension that is free on all inputs and outputs, so that it may be asked for any number of rows.

/** Fields from the model to the dimensions of an input (11) or output (12): graph, value, type, tensor, shape. */
const pathsToShapes = [
  [7, 11, 2, 1, 2],
  [7, 12, 2, 1, 2],
];
const [graph, initializer, tensorName] = [7, 5, 8];
const dimension = 1;
/** A DimensionProto with the name `rows`. */
const rows = Buffer.concat([Buffer.of(0x12, 4), Buffer.from('rows')]);

/** Values without dimensions stay as they are. */
export function withFreeRows(model: Uint8Array): Uint8Array {
  return pathsToShapes.reduce((bytes, path) => rewritten(bytes, path), model);
}

/** The same model with tensors (TensorProto) in the place of inputs of these names. */
export function withConstants(model: Uint8Array, tensors: readonly { name: string; bytes: Uint8Array }[]): Uint8Array {
  // A graph that comes again adds to the first, and the name that comes last counts.
  const added = tensors.map(({ name, bytes }) =>
    field(initializer, Buffer.concat([bytes, field(tensorName, Buffer.from(name))])),
  );
  return Buffer.concat([model, field(graph, Buffer.concat(added))]);
}

function field(id: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([varint(id * 8 + 2), varint(content.length), content]);
}

/** A protobuf message with what lies at the end of the path rewritten. */
function rewritten(bytes: Uint8Array, path: readonly number[]): Uint8Array {
  const [next, ...rest] = path;
  const parts: Uint8Array[] = [];
  let isFirst = true;
  for (let at = 0; at < bytes.length; ) {
    const { id, content, end } = fieldAt(bytes, at);
    const found = content !== undefined && id === (next ?? dimension) && (next !== undefined || isFirst);
    if (id === dimension) isFirst = false;
    if (found) {
      const inner = next === undefined ? rows : rewritten(content, rest);
      parts.push(field(id, inner));
    } else parts.push(bytes.subarray(at, end));
    at = end;
  }
  return Buffer.concat(parts);
}

/** `content` of a field that has a length. */
function fieldAt(bytes: Uint8Array, at: number): { id: number; content: Uint8Array | undefined; end: number } {
  const tag = numberAt(bytes, at);
  const [id, wireType] = [Math.floor(tag.value / 8), tag.value % 8];
  if (wireType !== 2) {
    const end = wireType === 0 ? numberAt(bytes, tag.end).end : tag.end + (wireType === 1 ? 8 : 4);
    return { id, content: undefined, end };
  }
  const { value: length, end: start } = numberAt(bytes, tag.end);
  return { id, content: bytes.subarray(start, start + length), end: start + length };
}

function numberAt(bytes: Uint8Array, start: number): { value: number; end: number } {
  let value = 0;
  for (let at = start, place = 1; at < bytes.length; at++, place *= 128) {
    const byte = bytes[at] ?? 0;
    value += (byte % 128) * place;
    if (byte < 128) return { value, end: at + 1 };
  }
  throw new Error('the file ends inside a number');
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return Uint8Array.of(...bytes, left);
    bytes.push((left % 128) + 128);
  }
}
