// Whether a caller is still there. An AbortSignal could say so too, but adding and removing its listener takes as long as
// running a small model.

export interface HangUp {
  readonly gone: boolean;
  /** Calls `leave` once when the caller goes; not any more after `forget`. */
  notify(leave: () => void): void;
  forget(leave: () => void): void;
}

export interface Caller extends HangUp {
  /** The caller is gone. */
  hangUp(): void;
}

/** A caller who is there. */
export function createCaller(): Caller {
  // A connection has one request at a time, seldom a few. No Set: it would leave a chain of outgrown tables to the
  // garbage collector, each holding on to requests that are long answered.
  let waiting: (() => void)[] = [];
  // Not a getter: each object's own would be unlike all others to the compiler.
  const caller = {
    gone: false,
    notify: (leave: () => void) => void waiting.push(leave),
    forget(leave: () => void) {
      const place = waiting.indexOf(leave);
      if (place >= 0) waiting.splice(place, 1);
    },
    hangUp() {
      caller.gone = true;
      const left = waiting;
      waiting = [];
      for (const leave of left) leave();
    },
  };
  return caller;
}
