// Values of any shape in few bytes: MessagePack, in which the keys of like objects stand once. JSON of before is read as well.
import { Packr } from 'msgpackr';

/** Objects with more keys are mostly maps by name, and no other object has the same keys. */
const mostRecordKeys = 8;

const packr = new Packr({ useRecords: isRecord, variableMapSize: true, mapsAsObjects: true });
const openingBrace = 0x7b;

export function pack(value: unknown): Buffer {
  return packr.pack(value);
}

/** `stored`: what `pack` gave, or JSON of an object, as text or as its bytes. */
export function unpack(stored: Buffer | string): unknown {
  if (typeof stored === 'string') return JSON.parse(stored);
  // Packed, this byte alone would be a number.
  if (stored[0] === openingBrace && stored.length > 1) return JSON.parse(stored.toString('utf8'));
  return packr.unpack(stored);
}

function isRecord(value: object): boolean {
  let keys = 0;
  for (const _ in value) if (++keys > mostRecordKeys) return false;
  return true;
}
