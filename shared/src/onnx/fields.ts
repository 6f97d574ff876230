// Reads protobuf messages out of a source of bytes through a window, so that a file of any size costs next to no memory:
// what is skipped is never read.

/** Bytes that can be read anywhere, such as a file's. */
export interface ByteSource {
  readonly size: number;
  /** Fewer than `length` only at the end. The bytes are valid until the next call. */
  read(at: number, length: number): Uint8Array;
}

/** What is in memory already. */
export function sourceOf(bytes: Uint8Array): ByteSource {
  return { size: bytes.length, read: (at, length) => bytes.subarray(at, at + length) };
}

export const wireTypes = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

export interface Place {
  start: number;
  end: number;
}

/** Its place is that of its bytes; a varint's is empty. */
export interface Field extends Place {
  id: number;
  wireType: number;
  /** Of a varint, as a signed 64-bit integer. */
  value: number;
}

const windowBytes = 64 * 1024;
const text = new TextDecoder();
/** Protobuf's own default, which ONNX Runtime keeps to as well. */
const deepestMessage = 100;
const never = (): boolean => false;

export class FieldReader {
  readonly #source: ByteSource;
  #window: Uint8Array = new Uint8Array(0);
  #windowAt = 0;
  #at = 0;
  #depth = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /**
   * Hands over each field between two places, in order; `take` reads what it wants of it before it returns. The rest is
   * left unread once `enough` says so. Throws RangeError for what is no message.
   */
  message({ start, end }: Place, take: (field: Field) => void, enough: () => boolean = never): void {
    if (++this.#depth > deepestMessage) throw new RangeError(`messages nest deeper than ${deepestMessage}`);
    this.#at = start;
    while (this.#at < end && !enough()) {
      const field = this.#field(end);
      take(field);
      this.#at = field.end;
    }
    this.#at = end;
    this.#depth--;
  }

  /** The numbers of a packed field. */
  packed({ start, end }: Place, take: (value: number) => void): void {
    this.#at = start;
    while (this.#at < end) take(this.#varint());
    if (this.#at !== end) throw new RangeError(`a field goes past the end of its message at ${end}`);
  }

  /** A copy of the field's bytes. */
  bytes({ start, end }: Place): Uint8Array {
    const bytes = this.#source.read(start, end - start);
    if (bytes.length < end - start) throw new RangeError('the file ends in the middle of a field');
    return new Uint8Array(bytes);
  }

  string(field: Place): string {
    if (field.end - field.start > windowBytes) throw new RangeError(`a text of ${field.end - field.start} bytes`);
    return text.decode(this.bytes(field));
  }

  /** Of a field of 4 bytes. */
  float(field: Place): number {
    const bytes = this.bytes(field);
    return new DataView(bytes.buffer).getFloat32(0, true);
  }

  #field(messageEnd: number): Field {
    const tag = this.#varint();
    const [id, wireType] = [Math.floor(tag / 8), tag % 8];
    const value = wireType === wireTypes.varint ? this.#varint() : 0;
    const size = this.#sizeOf(wireType);
    const start = this.#at;
    if (id < 1 || start + size > messageEnd)
      throw new RangeError(`a field goes past the end of its message at ${start}`);
    return { id, wireType, value, start, end: start + size };
  }

  #sizeOf(wireType: number): number {
    switch (wireType) {
      case wireTypes.varint:
        return 0;
      case wireTypes.fixed64:
        return 8;
      case wireTypes.bytes: {
        const size = this.#varint();
        if (size < 0) throw new RangeError('a field of a negative size');
        return size;
      }
      case wireTypes.fixed32:
        return 4;
      default:
        throw new RangeError(`a field of the unknown kind ${wireType}`);
    }
  }

  #byte(): number {
    let byte = this.#window[this.#at - this.#windowAt];
    if (byte === undefined) {
      this.#window = new Uint8Array(this.#source.read(this.#at, windowBytes));
      this.#windowAt = this.#at;
      byte = this.#window[0];
      if (byte === undefined) throw new RangeError('the file ends in the middle of a field');
    }
    this.#at++;
    return byte;
  }

  /** As a signed 64-bit integer; beyond 2^53 as near as a number comes. */
  #varint(): number {
    const parts: [number, number, number] = [0, 0, 0];
    for (let i = 0; i < 10; i++) {
      const byte = this.#byte();
      const place = Math.min(2, Math.floor(i / 4));
      parts[place] = (parts[place] ?? 0) + (byte & 0x7f) * 2 ** (7 * (i - place * 4));
      if (byte < 0x80) return signed(parts);
    }
    throw new RangeError('a number of more than 64 bits');
  }
}

/** Parts of 28, 28 and 8 bits. */
function signed([low, middle, high]: readonly [number, number, number]): number {
  const top = high % 256;
  if (top < 128) return low + middle * 2 ** 28 + top * 2 ** 56;
  return -(2 ** 28 - 1 - low + (2 ** 28 - 1 - middle) * 2 ** 28 + (255 - top) * 2 ** 56 + 1);
}
