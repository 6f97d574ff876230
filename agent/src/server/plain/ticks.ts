// Time as connections need it: whether something has lasted for seconds. It is counted in looks, so that a request costs no
// reading of a clock.

export interface Patience {
  /** How long callers may take, in milliseconds: for the head of a request, for all of it, and between two requests. */
  headersTimeout: number;
  requestTimeout: number;
  keepAliveTimeout: number;
  /** How often it is looked whether they took too long. */
  connectionsCheckingInterval: number;
}

/** What a caller may take for what is left of a request that was answered early: for the next piece, and for all of it. */
const rest = { pieceMs: 5000, restMs: 30_000 };

export interface Ticks {
  readonly patience: Patience & typeof rest;
  now(): number;
  /** Whether at least so long has passed since `tick`. */
  passed(tick: number, ms: number): boolean;
  stop(): void;
}

/** Calls `look` each time. */
export function createTicks(patience: Patience, look: () => void): Ticks {
  const everyMs = patience.connectionsCheckingInterval;
  let tick = 0;
  const timer = setInterval(() => {
    tick++;
    look();
  }, everyMs);
  timer.unref();
  return {
    patience: { ...patience, ...rest },
    now: () => tick,
    // A tick may be almost over when something begins.
    passed: (since, ms) => (tick - since - 1) * everyMs >= ms,
    stop: () => clearInterval(timer),
  };
}
