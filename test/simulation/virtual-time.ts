// One clock and one order of events for a whole fleet in one process: timers, immediates and the clocks that programs read are of
// this time while it is installed. Each event runs until nothing is left of it but waiting, so only one program runs at a time, and
// a seed gives the same history again.
//
// INVARIANTS
// - Whose code runs is known: timers that are set belong to that life, and are never heard of again once it has ended.
// - Nothing that is simulated waits for the real world: files are read at once, see `files-at-once.ts`.
import { syncBuiltinESMExports } from 'node:module';
import { performance } from 'node:perf_hooks';
import timersPromises from 'node:timers/promises';

/** One life of a program: from its start to its end. */
export interface Life {
  readonly name: string;
  alive: boolean;
  /** How far the clock of its machine is ahead of the true one. */
  clockAheadMs: number;
}

export class VirtualTimer {
  at: number;
  readonly order: number;
  readonly life: Life;
  work: (() => void) | undefined;

  constructor(at: number, order: number, { life, work }: { life: Life; work: () => void }) {
    this.at = at;
    this.order = order;
    this.life = life;
    this.work = work;
  }

  cancel(): void {
    this.work = undefined;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

class Interval {
  timer: VirtualTimer | undefined;

  cancel(): void {
    this.timer?.cancel();
  }

  unref(): this {
    return this;
  }
}

/** A real turn of the event loop: all that can go on without a timer has gone on after it. */
const realImmediate = setImmediate;

export class VirtualTime {
  /** Of nobody in particular: networks, operators, faults. */
  readonly world: Life = { name: 'world', alive: true, clockAheadMs: 0 };
  /** True time. */
  nowMs: number;
  events = 0;
  readonly #queue = new Queue();
  #order = 0;
  #running: Life = this.world;

  constructor(nowMs: number) {
    this.nowMs = nowMs;
  }

  /** Whose code runs. */
  get running(): Life {
    return this.#running;
  }

  after(ms: number, work: () => void, life: Life = this.#running): VirtualTimer {
    this.#order += 1;
    const timer = new VirtualTimer(this.nowMs + Math.max(0, ms), this.#order, { life, work });
    this.#queue.add(timer);
    return timer;
  }

  /** Lets time pass, event by event, until `isOver` or until `untilMs`. `seen` is told after each event whose it was. */
  async run(untilMs: number, seen: (life: Life) => void, isOver: () => boolean = () => false): Promise<void> {
    while (!isOver()) {
      const next = this.#queue.first();
      if (next === undefined || next.at > untilMs) {
        this.nowMs = Math.max(this.nowMs, untilMs);
        return;
      }
      this.#queue.take();
      if (next.work === undefined || !next.life.alive) continue;
      this.nowMs = next.at;
      await this.#happen(next.life, next.work);
      seen(next.life);
    }
  }

  async #happen(life: Life, work: () => void): Promise<void> {
    this.events += 1;
    this.#running = life;
    work();
    await turn();
    this.#running = this.world;
  }

  /** Puts this time in the place of the machine's; gives what takes it back. `random` is what `Math.random` gives meanwhile. */
  install(random: () => number): () => void {
    const { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate } = globalThis;
    const former = { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate };
    const [dateNow, mathRandom, delay] = [Date.now, Math.random, timersPromises.setTimeout];
    const clear = (timer: unknown) => {
      if (timer instanceof VirtualTimer || timer instanceof Interval) timer.cancel();
    };
    Object.assign(globalThis, {
      setTimeout: (work: (...given: unknown[]) => void, ms = 0, ...given: unknown[]) =>
        this.after(ms, () => work(...given)),
      setImmediate: (work: (...given: unknown[]) => void, ...given: unknown[]) => this.after(0, () => work(...given)),
      setInterval: (work: () => void, ms: number) => this.#every(ms, work),
      ...{ clearTimeout: clear, clearInterval: clear, clearImmediate: clear },
    });
    Date.now = () => Math.floor(this.nowMs + this.#running.clockAheadMs);
    Math.random = random;
    Object.defineProperty(performance, 'now', { value: () => this.nowMs, configurable: true, writable: true });
    Object.assign(timersPromises, {
      setTimeout: (ms: number, value: unknown, how?: Waiting) => this.#delay(ms, value, how),
    });
    syncBuiltinESMExports();
    return () => {
      Object.assign(globalThis, former);
      Date.now = dateNow;
      Math.random = mathRandom;
      Reflect.deleteProperty(performance, 'now');
      Object.assign(timersPromises, { setTimeout: delay });
      syncBuiltinESMExports();
    };
  }

  #every(ms: number, work: () => void): Interval {
    const interval = new Interval();
    const next = () => {
      interval.timer = this.after(ms, () => {
        next();
        work();
      });
    };
    next();
    return interval;
  }

  #delay(ms: number, value: unknown, { signal }: Waiting = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const aborted = () => reject(new DOMException('The operation was aborted', 'AbortError'));
      if (signal?.aborted === true) return aborted();
      const end = () => {
        timer.cancel();
        aborted();
      };
      const timer = this.after(ms, () => {
        signal?.removeEventListener('abort', end);
        resolve(value);
      });
      signal?.addEventListener('abort', end, { once: true });
    });
  }
}

interface Waiting {
  signal?: AbortSignal;
}

function turn(): Promise<void> {
  return new Promise((resolve) => realImmediate(resolve));
}

/** A binary heap: the earliest first, of those alike the one that was set first. */
class Queue {
  readonly #heap: VirtualTimer[] = [];

  first(): VirtualTimer | undefined {
    return this.#heap[0];
  }

  add(timer: VirtualTimer): void {
    const heap = this.#heap;
    let i = heap.push(timer) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#swapIfEarlier(i, parent)) return;
      i = parent;
    }
  }

  take(): void {
    const last = this.#heap.pop();
    if (this.#heap.length === 0 || last === undefined) return;
    this.#heap[0] = last;
    for (let i = 0; ; ) {
      const left = 2 * i + 1;
      const earlier = this.#isEarlier(left + 1, left) ? left + 1 : left;
      if (!this.#swapIfEarlier(earlier, i)) return;
      i = earlier;
    }
  }

  #isEarlier(i: number, j: number): boolean {
    const [one, other] = [this.#heap[i], this.#heap[j]];
    if (one === undefined || other === undefined) return false;
    return one.at === other.at ? one.order < other.order : one.at < other.at;
  }

  #swapIfEarlier(i: number, j: number): boolean {
    if (!this.#isEarlier(i, j)) return false;
    const [one, other] = [this.#heap[i], this.#heap[j]];
    if (one === undefined || other === undefined) return false;
    this.#heap[i] = other;
    this.#heap[j] = one;
    return true;
  }
}
