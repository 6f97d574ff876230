// What the running note says after a death. Apart from its writing, which worker threads do: they need no
// schemas.
import { readFileSync } from 'node:fs';
import { ModelName, ModelVersion } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { httpThreadSlot, slotBytes } from './running-note.ts';

const Running = z.object({ name: ModelName, version: ModelVersion });
export type Running = z.infer<typeof Running>;

/** Of the process, or of the thread that answers HTTP alone. */
export type Runner = 'process' | 'http-thread';

/** What was running when the process that wrote the note died; each version once. Empty when it cannot be read. */
export function readRunningNote(path: string, of: Runner = 'process'): Running[] {
  const whole = readIfReadable(path);
  const first = httpThreadSlot * slotBytes;
  const text = of === 'process' ? whole : whole.subarray(first, first + slotBytes);
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
  try {
    return Running.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined; // Not written by a thread: as good as nothing.
  }
}

function readIfReadable(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0); // Who died has to be replaced all the same; only whom to blame is not known.
  }
}
