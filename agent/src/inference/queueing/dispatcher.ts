// Shares the worker threads between models: whenever a thread has room, the model that has had the least of the
// threads' time so far is served next. A model that was away gets no credit for it.

import { type Lane, leastBusy } from '../hosts/lane.ts';

/** The waiting requests of one model. */
export interface Dispatchable {
  /** The threads that hold the model. */
  readonly lanes: readonly Lane[];
  /** Milliseconds until the waiting may be handed over: 0 now, undefined when nothing waits. */
  dueInMs(): number | undefined;
  /** Of this very thread, where that is the quickest way for what waits. */
  laneHere(): Lane | undefined;
  /** Hands as many requests to the thread as make one run. The estimated time of them; 0 when it took none. */
  dispatch(lane: Lane): number;
  waitingBytes(): number;
}

export interface Dispatcher {
  add(model: Dispatchable): void;
  remove(model: Dispatchable): void;
  /** Hands over what can be handed over now. */
  pump(): void;
  /** The same once everything that has come in by now is read: what arrived together leaves together, with one wake-up. */
  pumpSoon(): void;
  /** Bytes of inputs that wait, of all models. */
  waitingBytes(): number;
}

/** Milliseconds of the threads' time that a model may be ahead for having been idle. */
const credit = 5;

export function createDispatcher(): Dispatcher {
  /** Estimated time that each model was given, in milliseconds. */
  const given = new Map<Dispatchable, number>();
  let level = 0;
  let timer: NodeJS.Timeout | undefined;
  let soon = false;
  let pumping = false;

  const pump = (): void => {
    // A failing hand-over may settle a request, which pumps again.
    if (pumping) return;
    pumping = true;
    const touched = new Set<Lane>();
    try {
      for (let lane = serveNext(); lane; lane = serveNext()) touched.add(lane);
    } finally {
      pumping = false;
    }
    for (const { thread } of touched) thread.wake();
  };

  /** The thread that was given something; undefined when nothing waits or no thread has room for it. */
  const serveNext = (): Lane | undefined => {
    let next: { model: Dispatchable; lane: Lane; given: number } | undefined;
    for (const [model, had] of given) {
      const dueInMs = model.dueInMs();
      if (dueInMs === undefined || (next && had >= next.given)) continue;
      if (dueInMs > 0) {
        if (timer === undefined) timer = setTimeout(onTimer, Math.ceil(dueInMs));
        continue;
      }
      const lane = model.laneHere() ?? leastBusy(model.lanes);
      if (lane) next = { model, lane, given: had };
    }
    if (!next) return undefined;
    level = Math.max(level, next.given);
    const costMs = next.model.dispatch(next.lane);
    given.set(next.model, Math.max(next.given, level - credit) + costMs);
    return next.lane;
  };

  const onTimer = (): void => {
    timer = undefined;
    pump();
  };

  const onSoon = (): void => {
    soon = false;
    pump();
  };

  return {
    add: (model) => void given.set(model, level),
    remove: (model) => void given.delete(model),
    pump,
    pumpSoon() {
      if (soon) return;
      soon = true;
      setImmediate(onSoon);
    },
    waitingBytes: () => [...given.keys()].reduce((sum, model) => sum + model.waitingBytes(), 0),
  };
}
