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

export interface Traffic {
  /** From now on send these; the truth of a share of them, 0 to 1, follows as feedback. */
  send(samples: TrafficSample[], options: { labelShare: number }): void;
  /** Counts since the last call. */
  take(): Tally;
  /** Counts since the start. */
  total(): Tally;
  /** Each agent's requests begin when `ready` resolves for it. */
  start(ready: (agent: string) => Promise<unknown>): void;
  /** Resolves when nothing is under way; truths that are due are sent first. */
  stop(): Promise<void>;
}

export function createTraffic({ agents, model, rate, labelDelayMs, signal }: TrafficOptions): Traffic {
  let samples: TrafficSample[] = [];
  let labelShare = 0;
  let next = 0;
  let stopped = false;
  let tally = emptyTally();
  const total = emptyTally();
  const loops: Promise<void>[] = [];
  const pending = new Set<Promise<void>>();
  // Every truth that is still to come listens.
  setMaxListeners(0, signal);

  function count(change: (each: Tally) => void): void {
    change(tally);
    change(total);
  }

  function failed(error: unknown): void {
    count((each) => {
      each.failed++;
      each.lastFailure = messageOf(error);
    });
  }

  async function request(agent: string): Promise<void> {
    const index = next++ % samples.length;
    const sample = samples[index];
    if (sample === undefined) return;
    const withLabel = isLabelled(index, labelShare);
    try {
      const answer = await predict(agent, model, sample.features);
      count((each) => {
        each.answered++;
        if (answer.label === sample.label) each.correct++;
        each.versions.set(answer.version, (each.versions.get(answer.version) ?? 0) + 1);
      });
      if (withLabel) later(() => giveLabel(agent, answer.id, sample.label, signal));
    } catch (error) {
      failed(error);
    }
  }

  function later(work: () => Promise<void>): void {
    const done = pause(labelDelayMs, signal)
      .then(work)
      .catch((error: unknown) => {
        if (!signal.aborted) failed(error);
      })
      .finally(() => pending.delete(done));
    pending.add(done);
  }

  /** One request after the other, at the rate; time lost to a slow answer is not made up by a burst. */
  async function loop(agent: string): Promise<void> {
    for (
      let due = performance.now();
      !stopped && !signal.aborted;
      due = Math.max(due + 1000 / rate, performance.now() - 1000)
    ) {
      const aheadMs = due - performance.now();
      if (aheadMs > 1) await pause(aheadMs, signal).catch(() => undefined);
      if (!stopped) await request(agent);
    }
  }

  return {
    send: (which, options) => {
      samples = which;
      labelShare = options.labelShare;
      next = 0;
    },
    take: () => {
      const taken = tally;
      tally = emptyTally();
      return taken;
    },
    total: () => total,
    start: (ready) => {
      loops.push(
        ...agents.map((agent) =>
          ready(agent)
            .then(() => loop(agent))
            .catch(failed),
        ),
      );
    },
    stop: async () => {
      stopped = true;
      await Promise.all(loops);
      await Promise.all(pending);
    },
  };
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
async function giveLabel(agent: string, id: string, label: string, signal: AbortSignal): Promise<void> {
  const givenUpMs = performance.now() + labelPatienceMs;
  for (;;) {
    const response = await send(`${agent}/feedback/${id}`, { label });
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
