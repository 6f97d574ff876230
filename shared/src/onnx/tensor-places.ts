// Where the numbers of an ONNX file lie. Field numbers are those of onnx.proto3.
import { type ByteSource, type Field, FieldReader, type Place, wireTypes } from './fields.ts';

type Message = 'model' | 'graph' | 'function' | 'node' | 'attribute' | 'tensor';

/** Messages inside messages, down to those that hold numbers. */
const messages: Record<Message, Partial<Record<number, Message>>> = {
  model: { 7: 'graph', 25: 'function' },
  graph: { 1: 'node', 5: 'tensor' },
  function: { 7: 'node' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph' },
  tensor: {},
};

/** Numbers of a tensor, raw or by their type, and of the attributes that trees keep theirs in. */
const numbers: Partial<Record<Message, readonly number[]>> = { tensor: [4, 5, 7, 9, 10, 11], attribute: [7, 8] };

/**
 * The places of all arrays of numbers that have at least `leastBytes`, in the order of the file; those of initializers and of
 * attributes, in subgraphs and functions, too. Throws RangeError for what is no ONNX file.
 */
export function tensorPlaces(source: ByteSource, leastBytes: number): Place[] {
  const reader = new FieldReader(source);
  const places: Place[] = [];
  const walk = (message: Message, place: Place): void =>
    reader.message(place, (field) => {
      if (field.wireType !== wireTypes.bytes) return;
      const inner = messages[message][field.id];
      if (inner !== undefined) walk(inner, placeOf(field));
      else if (field.end - field.start >= leastBytes && numbers[message]?.includes(field.id))
        places.push(placeOf(field));
    });
  walk('model', { start: 0, end: source.size });
  return places;
}

function placeOf({ start, end }: Field): Place {
  return { start, end };
}
