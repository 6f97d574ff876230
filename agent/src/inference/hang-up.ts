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
  const waiting = new Set<() => void>();
  let gone = false;
  return {
    get gone() {
      return gone;
    },
    notify: (leave) => void waiting.add(leave),
    forget: (leave) => void waiting.delete(leave),
    hangUp() {
      gone = true;
      for (const leave of waiting) leave();
      waiting.clear();
    },
  };
}

/** A caller who goes when `signal` says so. */
export function callerOf(signal: AbortSignal): HangUp {
  const caller = createCaller();
  if (signal.aborted) caller.hangUp();
  else signal.addEventListener('abort', caller.hangUp, { once: true });
  return caller;
}
