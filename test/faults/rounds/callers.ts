// Device software as the rounds play it: for each model one caller that keeps its connection and one that makes a new one each
// time, asking the same question again and again, and counting.
import { Agent as Connections, request } from 'undici';
import { z } from 'zod';
import type { Ledger, Miss } from './ledger.ts';
import { question } from './versions.ts';

const everyMs = 20;
/** Longer than any wait that is promised. */
const silenceMs = 30_000;
const Prediction = z.object({ id: z.string(), version: z.coerce.number(), scores: z.object({ high: z.number() }) });

export interface Callers {
  /** Ids of the last answers of a model, newest last, at most twenty. */
  recent(model: string): string[];
  /** Waits until nothing is under way and asks nothing more until `resume`. */
  pause(): Promise<void>;
  resume(): void;
  stop(): Promise<void>;
}

export interface CallersOptions {
  url: string;
  models: readonly string[];
  ledger: Ledger;
  /** Whether nobody can listen now, because we ended who did. */
  isDown(): boolean;
}

export function startCallers({ url, models, ledger, isDown }: CallersOptions): Callers {
  const kept = new Connections({ connections: models.length, headersTimeout: silenceMs, bodyTimeout: silenceMs });
  const once = new Connections({ pipelining: 0, headersTimeout: silenceMs, bodyTimeout: silenceMs });
  const recent = new Map<string, string[]>(models.map((model) => [model, []]));
  const body = JSON.stringify({ features: question });
  let asking: Promise<unknown> = Promise.resolve();
  let going = false;

  const ask = async (model: string, dispatcher: Connections): Promise<void> => {
    try {
      const headers = { 'content-type': 'application/json' };
      const answer = await request(`${url}/predict/${model}`, { method: 'POST', dispatcher, headers, body });
      const text = await answer.body.text();
      if (answer.statusCode !== 200) return ledger.missed(model, `status ${answer.statusCode}`, text.slice(0, 300));
      const { id, version, scores } = Prediction.parse(JSON.parse(text));
      ledger.answered({ model, version, high: scores.high }, performance.now());
      const ids = recent.get(model) ?? [];
      ids.push(id);
      if (ids.length > 20) ids.shift();
    } catch (error) {
      if (error instanceof z.ZodError) throw error;
      const miss = missOf(error);
      if (miss !== 'refused' || !isDown()) ledger.missed(model, miss, String(error));
    }
  };
  const repeat = async (model: string, dispatcher: Connections): Promise<void> => {
    while (going) {
      await ask(model, dispatcher);
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  };
  const callers: Callers = {
    recent: (model) => [...(recent.get(model) ?? [])],
    async pause() {
      going = false;
      await asking;
      ledger.rest(performance.now());
    },
    resume() {
      going = true;
      ledger.begin(performance.now());
      asking = Promise.all(models.flatMap((model) => [repeat(model, kept), repeat(model, once)]));
    },
    async stop() {
      await callers.pause();
      await Promise.all([kept.close(), once.close()]);
    },
  };
  return callers;
}

/** A connection that was never made asked nothing. */
function missOf(error: unknown): Miss {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ECONNREFUSED' ? 'refused' : 'cut';
}
