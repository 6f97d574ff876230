// The fleet's traffic: files sent to the agents' local ports, as device software would, and the truth some time later.
import { setMaxListeners } from 'node:events';
import { messageOf } from '@edgeloop/shared/errors';
import { z } from 'zod';
import { pause } from './wait.ts';

export interface TrafficSample {
  label: string;
  features: Float32Array;
}

/** What a client saw. */
export interface Tally {
  answered: number;
  correct: number;
  failed: number;
  /** Model versions that answered. */
  versions: Map<number, number>;
  lastFailure: string;
}

const Prediction = z.object({
  id: z.string(),
  version: z.union([z.string(), z.number()]).transform(Number),
  label: z.string(),
});

const labelPatienceMs = 120_000;

export interface TrafficOptions {
  agents: string[];
  model: string;
  /** Requests per second for each agent. */
  rate: number;
  /** Milliseconds from a prediction to its truth. */
  labelDelayMs: number;
  signal: AbortSignal;
}

export class Traffic {
  readonly #options: TrafficOptions;
  readonly #loops: Promise<void>[] = [];
  /** Truths that are still to come. */
  readonly #pending = new Set<Promise<void>>();
  readonly #total = emptyTally();
  #tally = emptyTally();
  #samples: TrafficSample[] = [];
  #labelShare = 0;
  #next = 0;
  #stopped = false;

  constructor(options: TrafficOptions) {
    this.#options = options;
    // Every truth that is still to come listens.
    setMaxListeners(0, options.signal);
  }

  /** From now on send these; the truth of a share of them, 0 to 1, follows as feedback. */
  send(samples: TrafficSample[], { labelShare }: { labelShare: number }): void {
    this.#samples = samples;
    this.#labelShare = labelShare;
    this.#next = 0;
  }

  /** Counts since the last call. */
  take(): Tally {
    const taken = this.#tally;
    this.#tally = emptyTally();
    return taken;
  }

  /** Counts since the start. */
  total(): Tally {
    return this.#total;
  }

  /** Each agent's requests begin when `ready` resolves for it. */
  start(ready: (agent: string) => Promise<unknown>): void {
    for (const agent of this.#options.agents) this.#loops.push(this.#drive(agent, ready(agent)));
  }

  /** Resolves when nothing is under way; truths that are due are sent first. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
    await Promise.all(this.#pending);
  }

  /** One request after the other, at the rate; time lost to a slow answer is not made up by a burst. */
  async #drive(agent: string, ready: Promise<unknown>): Promise<void> {
    const { rate, signal } = this.#options;
    try {
      await ready;
    } catch (error) {
      return this.#failed(error);
    }
    let due = performance.now();
    while (!this.#stopped && !signal.aborted) {
      const aheadMs = due - performance.now();
      if (aheadMs > 1) await pause(aheadMs, signal).catch(() => undefined);
      if (!this.#stopped) await this.#request(agent);
      due = Math.max(due + 1000 / rate, performance.now() - 1000);
    }
  }

  async #request(agent: string): Promise<void> {
    const index = this.#next++ % this.#samples.length;
    const sample = this.#samples[index];
    if (sample === undefined) return;
    const withLabel = isLabelled(index, this.#labelShare);
    try {
      const answer = await predict(agent, this.#options.model, sample.features);
      this.#count((each) => {
        each.answered++;
        if (answer.label === sample.label) each.correct++;
        each.versions.set(answer.version, (each.versions.get(answer.version) ?? 0) + 1);
      });
      if (withLabel) this.#label(agent, answer.id, sample.label);
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Gives the truth later, as whoever finds it out would. */
  #label(agent: string, id: string, label: string): void {
    const { signal, labelDelayMs } = this.#options;
    const done = pause(labelDelayMs, signal)
      .then(() => giveLabel(`${agent}/feedback/${id}`, label, signal))
      .catch((error: unknown) => {
        if (!signal.aborted) this.#failed(error);
      })
      .finally(() => this.#pending.delete(done));
    this.#pending.add(done);
  }

  #failed(error: unknown): void {
    this.#count((each) => {
      each.failed++;
      each.lastFailure = messageOf(error);
    });
  }

  #count(change: (each: Tally) => void): void {
    change(this.#tally);
    change(this.#total);
  }
}

/** Spreads the labelled ones evenly; the same sample is labelled each time or never. */
function isLabelled(index: number, share: number): boolean {
  return Math.floor((index + 1) * share) > Math.floor(index * share);
}

function emptyTally(): Tally {
  return { answered: 0, correct: 0, failed: 0, versions: new Map(), lastFailure: '' };
}

async function predict(agent: string, model: string, features: Float32Array): Promise<z.output<typeof Prediction>> {
  return Prediction.parse(await post(`${agent}/predict/${model}`, { features: Array.from(features) }));
}

/** A truth can wait: on a busy machine the agent asks for that, and to give the same one again changes nothing. */
async function giveLabel(url: string, label: string, signal: AbortSignal): Promise<void> {
  const givenUpMs = performance.now() + labelPatienceMs;
  for (;;) {
    const response = await send(url, { label });
    const answer = await response.text();
    if (response.ok) return;
    if (response.status !== 503 || performance.now() > givenUpMs) throw failure(response, answer);
    await pause(Number(response.headers.get('retry-after') ?? 1) * 1000, signal);
  }
}

async function post(url: string, body: unknown): Promise<unknown> {
  const response = await send(url, body);
  const text = await response.text();
  if (!response.ok) throw failure(response, text);
  return text === '' ? undefined : JSON.parse(text);
}

function send(url: string, body: unknown): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

function failure({ status }: Response, text: string): Error {
  return new Error(`${status} ${text.slice(0, 200)}`);
}

/** Share of right answers, 0 to 1. */
export function accuracyOf(tally: Tally): number {
  return tally.answered === 0 ? 0 : tally.correct / tally.answered;
}
