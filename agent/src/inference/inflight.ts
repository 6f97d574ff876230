// Which model versions run at this moment, kept in a small file with a slot for each worker thread: after the process
// was killed by a model (a native crash leaves no trace in JavaScript) the file still says which one it was.
// Writing a slot is one pwrite into the page cache (0.6 us); it survives the process, not a power cut, and need not.
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { ModelName, ModelVersion } from '@edgeloop/shared/identifiers';
import { z } from 'zod';

const slotBytes = 128;
const blank = Buffer.alloc(slotBytes, ' ');

const Running = z.object({ name: ModelName, version: ModelVersion });
export type Running = z.infer<typeof Running>;

export interface InflightSlot {
  /** Just before native code is entered on behalf of this version. */
  begin(name: string, version: number): void;
  end(): void;
  close(): void;
}

/** Empties the journal; by the process that will run models, before it does. */
export function clearInflight(path: string): void {
  writeFileSync(path, '');
}

/** The slot of one worker thread. */
export function openInflightSlot(path: string, slot: number): InflightSlot {
  const file = openSync(path, 'r+');
  const rendered = new Map<string, Buffer>();
  const record = (name: string, version: number): Buffer => {
    const key = `${name}@${version}`;
    const known = rendered.get(key);
    if (known) return known;
    const bytes = Buffer.from(blank);
    bytes.write(JSON.stringify({ name, version }));
    if (rendered.size > 256) rendered.clear();
    rendered.set(key, bytes);
    return bytes;
  };
  return {
    begin: (name, version) => void writeSync(file, record(name, version), 0, slotBytes, slot * slotBytes),
    end: () => void writeSync(file, blank, 0, slotBytes, slot * slotBytes),
    close: () => closeSync(file),
  };
}

/** What was running when the process that wrote the journal died; each version once. Empty when there is no journal. */
export function readInflight(path: string): Running[] {
  const text = readIfThere(path);
  const found = new Map<string, Running>();
  for (let at = 0; at < text.length; at += slotBytes) {
    // A slot that a dying thread had half written says nothing; it is left out.
    const running = parseSlot(
      text
        .subarray(at, at + slotBytes)
        .toString()
        .replaceAll('\0', '')
        .trim(),
    );
    if (running) found.set(`${running.name}@${running.version}`, running);
  }
  return [...found.values()];
}

function parseSlot(text: string): Running | undefined {
  if (!text.startsWith('{') || !text.endsWith('}')) return undefined;
  return Running.safeParse(JSON.parse(text)).data;
}

function readIfThere(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return Buffer.alloc(0);
    throw error;
  }
}
