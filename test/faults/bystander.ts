// A caller of a harmless model on the same port, who notices how long he goes without an answer.
import { request } from 'undici';
import { until } from '../support/until.ts';

export interface Bystander {
  /** Waits for so many more answers. */
  answers(count: number): Promise<void>;
  /** Longest time between two answers so far, the present wait included. */
  longestGapMs(): number;
  /** Requests without an answer or with another one than 200 so far. */
  failures(): number;
  stop(): Promise<void>;
}

const everyMs = 10;
const body = JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [2], data: [1, 2] }] });

/** Asks `url` again and again, each time on a connection of its own; what fails is tried again. */
export function startBystander(url: string): Bystander {
  let answered = 0;
  let lastMs = performance.now();
  let longestMs = 0;
  let failures = 0;
  let going = true;
  const one = async (): Promise<void> => {
    const { statusCode, body: text } = await request(url, { method: 'POST', body, reset: true, headersTimeout: 5000 });
    await text.dump();
    if (statusCode !== 200) throw new Error(`status ${statusCode}`);
    const nowMs = performance.now();
    longestMs = Math.max(longestMs, nowMs - lastMs);
    lastMs = nowMs;
    answered++;
  };
  const asking = (async () => {
    while (going) {
      // A reset connection is no answer; the gap grows until the next one.
      await one().catch(() => {
        failures++;
      });
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  })();
  return {
    async answers(count) {
      const wanted = answered + count;
      await until(`${count} answers for the bystander`, async () => answered >= wanted || undefined, {
        timeoutMs: 60_000,
        context: () => `longest gap ${Math.round(longestMs)} ms`,
      });
    },
    failures: () => failures,
    longestGapMs: () => Math.max(longestMs, performance.now() - lastMs),
    async stop() {
      going = false;
      await asking;
    },
  };
}
