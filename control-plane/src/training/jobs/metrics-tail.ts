// Follows `metrics.jsonl` while a trainer writes it.
import { open } from 'node:fs/promises';
import { RunStep } from '@edgeloop/shared/api/training';
import { pause } from '@edgeloop/shared/node/backoff';
import { isMissing } from '@edgeloop/shared/node/durable-files';

const pollMs = 250;
const chunkBytes = 256 * 1024;
/** A longer line is no measurement. */
const maxLineBytes = 4096;

/** Calls `onStep` for each whole line that holds a measurement; other lines are passed over. `close` reads the rest. */
export function tailMetrics(path: string, onStep: (step: RunStep) => void): { close(): Promise<void> } {
  const stopping = new AbortController();
  let offset = 0;
  let rest = '';

  async function readNew(): Promise<void> {
    const file = await open(path, 'r').catch((error: unknown) => {
      if (isMissing(error)) return undefined; // Not yet written.
      throw error;
    });
    if (file === undefined) return;
    try {
      const chunk = Buffer.alloc(chunkBytes);
      for (;;) {
        const { bytesRead } = await file.read(chunk, 0, chunkBytes, offset);
        if (bytesRead === 0) return;
        offset += bytesRead;
        const lines = (rest + chunk.toString('latin1', 0, bytesRead)).split('\n');
        rest = (lines.pop() ?? '').slice(0, maxLineBytes);
        for (const line of lines) {
          const step = stepOf(line);
          if (step !== undefined) onStep(step);
        }
      }
    } finally {
      await file.close();
    }
  }

  const following = (async () => {
    while (!stopping.signal.aborted) {
      await readNew();
      await pause(pollMs, stopping.signal);
    }
    await readNew();
  })();
  // Whoever closes hears of a failure to read.
  following.catch(() => undefined);
  return {
    close: async () => {
      stopping.abort();
      await following;
    },
  };
}

/** Bytes beyond ASCII may stand between two reads, so they are read as Latin-1 and joined here. */
function stepOf(line: string): RunStep | undefined {
  try {
    const result = RunStep.safeParse(JSON.parse(Buffer.from(line, 'latin1').toString('utf8')));
    return result.success && result.data.name.length <= 200 ? result.data : undefined;
  } catch {
    return undefined;
  }
}
